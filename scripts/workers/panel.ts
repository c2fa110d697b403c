/** The Worker of the panel's tests and pictures: the caller says what is charged and why, as an app would, and what an envelope is to be called. */
import {
  type ChargeOptions,
  type EnvelopeConfiguration,
  type EnvelopeFetchHandler,
  envelopeOf,
  withEnvelope,
} from "with-envelope";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

const app: EnvelopeFetchHandler<unknown> = async (request, env, ctx) => {
  const { pathname } = new URL(request.url);
  if (request.method === "POST" && pathname === "/charge") {
    const { price, ...options } = (await request.json()) as ChargeOptions & { readonly price: string };
    return Response.json(await ctx.envelope.charge(price, options));
  }
  if (request.method === "POST" && pathname === "/configure") {
    const { id, ...settings } = (await request.json()) as EnvelopeConfiguration & { readonly id: string };
    return Response.json(await envelopeOf(env, { id }).configure(settings));
  }
  return new Response("free");
};

export default { fetch: withEnvelope(app) } satisfies ExportedHandler;
