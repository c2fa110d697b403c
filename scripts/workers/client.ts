/** The Worker of the client's tests: a page with the client's own module on it, and something to sell. */
import { withEnvelope } from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

/** The module comes by a variable: the page loads it as a site would serve it. */
interface Env {
  readonly CLIENT_JS: string;
}

const PAGE = `<!doctype html><html lang="en"><title>client</title>
<script type="module" src="/client.js"></script><envelope-balance>Add money</envelope-balance>`;

export default {
  fetch: withEnvelope<Env>((request, env) => {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/") {
      const policy = "default-src 'none'; script-src 'self'; connect-src 'self'";
      return new Response(PAGE, { headers: { "Content-Type": "text/html", "Content-Security-Policy": policy } });
    }
    if (pathname === "/client.js")
      return new Response(env.CLIENT_JS, { headers: { "Content-Type": "text/javascript" } });
    return new Response("sold", { headers: { "X-Price": searchParams.get("price") ?? "1" } });
  }),
} satisfies ExportedHandler<Env>;
