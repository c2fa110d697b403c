/** Wrangler hands a Worker its .html files as text. */
declare module "*.html" {
  const text: string;
  export default text;
}
