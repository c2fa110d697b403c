/** The Worker of `npm run demo`: a free page, two prices, a dear one, and one the owner got wrong. */
import { type EnvelopeFetchHandler, withEnvelope } from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

const PRICES: Readonly<Record<string, string>> = {
  "/joke": "1",
  "/word": "0.05",
  "/book": "100000",
  "/mistake": "1,00",
};

const app: EnvelopeFetchHandler<unknown> = (request) => {
  const { pathname } = new URL(request.url);
  const price = PRICES[pathname];
  if (price === undefined) return new Response("free", { headers: { "X-Page": "free" } });
  return Response.json({ page: pathname }, { headers: { "X-Price": price } });
};

export default { fetch: withEnvelope(app) } satisfies ExportedHandler;
