/** The Worker of the panel's pictures: the aggregate can be told of days that are over, as the envelopes of those days would have. */
import * as workers from "cloudflare:workers";
import panel from "./panel.js";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

interface Aggregate {
  mirror(batch: unknown): Promise<unknown>;
}

const { exports } = workers as unknown as {
  readonly exports: { readonly EnvelopeAggregate: { getByName(name: string): Aggregate } };
};

export default {
  async fetch(request, env, ctx) {
    if (request.method !== "POST" || new URL(request.url).pathname !== "/past") return panel.fetch(request, env, ctx);
    for (const batch of (await request.json()) as readonly unknown[]) {
      await exports.EnvelopeAggregate.getByName("aggregate-0").mirror(batch);
    }
    return new Response("mirrored");
  },
} satisfies ExportedHandler<Cloudflare.Env>;
