/** What the chaos tests share: a site whose Stripe is the stand-in, and its ledgers as the judge reads them. */

import { vi } from "vitest";
import { envelopeOf } from "../../../src/index.js";
import type { StripeAccount } from "../../stripe/account.js";
import { judge, type Ledger, type Line, type Owner, type Verdict } from "../../stripe/judge.js";
import { type StandInOptions, StripeStandIn } from "../../stripe/stand-in.js";
import { type Caller, Site } from "../support.js";

const STRIPE_API_BASE = "http://stripe.test";
const PAGE = 1000;

/** Stripe's place is taken by a stand-in: whatever else is fetched fails. */
export function siteWithStripe(
  options: StandInOptions = {},
  siteOptions: ConstructorParameters<typeof Site>[0] = {},
): { readonly site: Site; readonly standIn: StripeStandIn } {
  const standIn = new StripeStandIn(options);
  const site = new Site(
    { onIncident: () => undefined, ...siteOptions },
    { STRIPE_SECRET_KEY: standIn.key, STRIPE_API_BASE },
  );
  vi.spyOn(globalThis, "fetch").mockImplementation((input, init) => {
    const request = new Request(input as Request, init);
    if (!request.url.startsWith(STRIPE_API_BASE)) throw new TypeError(`Not to be fetched in a test: ${request.url}`);
    return standIn.handle(request);
  });
  return { site, standIn };
}

/** The webhook as a function, without the origin that the deliverer made up. */
export function webhookOf(site: Site): (request: Request) => Promise<Response> {
  return async (request) =>
    site.fetch("/stripe-webhook", { method: "POST", headers: request.headers, body: await request.text() });
}

export function newcomers(site: Site, number: number): Promise<Caller[]> {
  return Promise.all(Array.from({ length: number }, () => site.newcomer()));
}

export async function ledgerOf(site: Site, envelope_id: string): Promise<Ledger> {
  const envelope = envelopeOf(site.env, { id: envelope_id });
  const lines: Line[] = [];
  for (let page: readonly Line[] | undefined; page === undefined || page.length === PAGE; ) {
    page = await envelope.entries(lines.at(-1)?.seq ?? 0, PAGE);
    lines.push(...page);
  }
  const { balance_micros, open_disputes, frozen } = await envelope.state();
  return { envelope_id, lines, balance_micros, open_disputes, frozen };
}

export async function judgeSite(
  site: Site,
  account: StripeAccount,
  owners: ReadonlyMap<string, Owner>,
  callers: readonly Caller[],
): Promise<Verdict> {
  return judge(account, owners, await Promise.all(callers.map(({ id }) => ledgerOf(site, id))));
}
