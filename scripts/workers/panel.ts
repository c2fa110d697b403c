/** The Worker of the panel's tests and pictures: the caller says what is charged and why, as an app would. */
import { type ChargeOptions, type EnvelopeFetchHandler, withEnvelope } from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

const app: EnvelopeFetchHandler<unknown> = async (request, _env, ctx) => {
  if (request.method !== "POST" || new URL(request.url).pathname !== "/charge") return new Response("free");
  const { price, ...options } = (await request.json()) as ChargeOptions & { readonly price: string };
  return Response.json(await ctx.envelope.charge(price, options));
};

export default { fetch: withEnvelope(app) } satisfies ExportedHandler;
