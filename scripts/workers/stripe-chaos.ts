/**
 * The Worker of `stripe-chaos.ts`: the package as an owner would deploy it, and a door through which a judge reads ledgers.
 * With CONTROL set, envelopes forget that money is keyed by the payment, so that the judge has something to find.
 */
import {
  type EnvelopeFetchHandler,
  type EnvelopeHandle,
  envelopeOf,
  Envelope as RealEnvelope,
  withEnvelope,
} from "with-envelope";

export { EnvelopeAggregate, EnvelopeDirectory } from "with-envelope";

type Report = Parameters<RealEnvelope["report"]>[0];

export class Envelope extends RealEnvelope {
  override report(report: Report): ReturnType<RealEnvelope["report"]> {
    const { env } = this as unknown as { readonly env: { readonly CONTROL?: string } };
    if (env.CONTROL === undefined) return super.report(report);
    return super.report({ ...report, payment_id: `${report.payment_id}_${crypto.randomUUID()}` });
  }
}

const PAGE = 1000;

const app: EnvelopeFetchHandler<unknown> = async (request, env) => {
  const { pathname, searchParams } = new URL(request.url);
  if (pathname !== "/ledger") return new Response("free");
  const envelope = envelopeOf(env, { id: searchParams.get("id") ?? "" });
  const { balance_micros, open_disputes, frozen } = await envelope.state();
  return Response.json({
    envelope_id: envelope.id,
    lines: await linesOf(envelope),
    balance_micros,
    open_disputes,
    frozen,
  });
};

async function linesOf(envelope: EnvelopeHandle): Promise<Awaited<ReturnType<EnvelopeHandle["entries"]>>> {
  const first = await envelope.entries(0, PAGE);
  const lines = [...first];
  for (let page = first; page.length === PAGE; lines.push(...page)) page = await envelope.entries(lines.length, PAGE);
  return lines;
}

export default { fetch: withEnvelope(app) };
