/**
 * The Worker of `npm run chaos`. Each operation has a path of its own, which the ledger keeps as the entry's reason: so an
 * entry is told from every other without the key whose working is to be proved.
 */
import { exports } from "cloudflare:workers";
import { EnvelopeAggregate as Aggregate, type EnvelopeFetchHandler, envelopeOf, withEnvelope } from "with-envelope";

export { Envelope, EnvelopeDirectory } from "with-envelope";

/** The real one, as slow as a busy one: so that kills come between an entry's arrival and the envelope's knowing of it. */
export class EnvelopeAggregate extends Aggregate {
  override async mirror(...batch: Parameters<Aggregate["mirror"]>): ReturnType<Aggregate["mirror"]> {
    await pause(Math.random() * MIRROR_PAUSE_MS);
    const outcome = await super.mirror(...batch);
    await pause(Math.random() * MIRROR_PAUSE_MS);
    return outcome;
  }
}

const MIRROR_PAUSE_MS = 60;

const app: EnvelopeFetchHandler<unknown> = async (request, env, ctx) => {
  const { pathname, searchParams: asked } = new URL(request.url);
  switch (pathname.split("/")[1]) {
    case "charge":
    case "held":
      return work(pathname, asked);
    case "who":
      return Response.json({ id: ctx.envelope.id });
    case "ledger":
      return Response.json({ entries: await envelopeOf(env, idOf(asked)).entries(Number(asked.get("after")), 1000) });
    case "state":
      return Response.json(await envelopeOf(env, idOf(asked)).state());
    case "overview":
      return Response.json(await overview());
    default:
      return new Response("free");
  }
};

/** Takes its time, so that a kill can come between the hold and its end; then is priced, fails, or leaves the price to the quote. */
async function work(pathname: string, asked: URLSearchParams): Promise<Response> {
  const work_ms = Number(asked.get("work_ms") ?? 0);
  if (work_ms > 0) await pause(work_ms);
  if (asked.get("fail") !== null) return new Response("the work failed", { status: 418 });
  const price = asked.get("price");
  return Response.json({ done: pathname }, { headers: price === null ? {} : { "X-Price": price } });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function idOf(asked: URLSearchParams): { readonly id: string } {
  return { id: asked.get("id") ?? "" };
}

/** The aggregate's totals, as the owner's reports read them. */
function overview(): Promise<unknown> {
  const { EnvelopeAggregate } = exports as unknown as Record<
    "EnvelopeAggregate",
    { getByName(name: string): { overview(): Promise<unknown> } }
  >;
  return EnvelopeAggregate.getByName("aggregate-0").overview();
}

export default {
  fetch: withEnvelope(app, {
    price: (request) => new URL(request.url).searchParams.get("quote") ?? undefined,
    // Short, because a hold whose end was killed keeps its key busy for as long.
    holdSeconds: 1,
  }),
} satisfies ExportedHandler;
