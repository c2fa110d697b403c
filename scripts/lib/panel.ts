/** The panel's Worker with money in it, for its tests and its pictures. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { temporaryFolder } from "./folders.ts";
import { type Holder, newHolder } from "./holder.ts";
import { readJson, send } from "./http.ts";
import { randomVars, writeProject } from "./project.ts";
import { completedEvent, deliver } from "./stripe.ts";
import { configureWorkerd, startWorkerd } from "./workerd.ts";
import { bundle } from "./wrangler.ts";

const WORKER = fileURLToPath(new URL("../workers/panel.ts", import.meta.url));

export interface PanelServer {
  readonly origin: string;
  readonly secret: string;
  /** A new holder who paid; the answer names the envelope. */
  fund(name: string, cents: number): Promise<Funded>;
  pay(payment: { readonly name: string; readonly reference: string; readonly amount: number }): Promise<void>;
  charge(holder: Holder, charge: Charge): Promise<void>;
  /** As the owner's server: a change at a path, with a key of its own. */
  act(path: string, body: object): Promise<Readonly<Record<string, unknown>>>;
  stop(): Promise<void>;
}

export interface Funded extends Holder {
  readonly id: string;
}

export interface Charge {
  readonly price: string;
  readonly reason?: string;
  readonly metadata?: string;
}

/** In the runtime itself, on empty storage. */
export async function startPanelServer(
  worker = WORKER,
  more: Readonly<Record<string, string>> = {},
): Promise<PanelServer> {
  const folder = temporaryFolder("panel");
  const vars = { ...randomVars(), ENVELOPE_ADMIN_SECRET: randomBytes(32).toString("base64url"), ...more };
  writeProject({ folder: folder.path, main: worker, vars });
  const built = bundle(folder.path);
  configureWorkerd(built, vars);
  const server = await startWorkerd(built, join(folder.path, "storage"));
  const { origin } = server;
  const pay: PanelServer["pay"] = async (payment) => {
    const answer = await deliver(origin, completedEvent(payment), vars.STRIPE_WEBHOOK_SECRET);
    if (answer.status !== 200) throw new Error(`The webhook answered ${answer.status}: ${answer.body}`);
  };
  return {
    origin,
    secret: vars.ENVELOPE_ADMIN_SECRET,
    pay,
    fund: async (name, cents) => {
      const holder = await newHolder(origin);
      await pay({ name, reference: holder.reference, amount: cents });
      return { ...holder, id: idOf(holder.reference) };
    },
    charge: async ({ cookie }, charge) => {
      const headers = { Cookie: cookie, "Content-Type": "application/json", Origin: origin };
      const answer = await send(origin, "/charge", { method: "POST", headers, body: JSON.stringify(charge) });
      const { outcome } = readJson(answer);
      if (outcome !== "charged" && outcome !== "refused") throw new Error(`The charge came to ${answer.body}`);
    },
    act: async (path, body) => {
      const headers = {
        Authorization: `Bearer ${vars.ENVELOPE_ADMIN_SECRET}`,
        "Content-Type": "application/json",
        "Idempotency-Key": crypto.randomUUID(),
      };
      const answer = await send(origin, path, { method: "POST", headers, body: JSON.stringify(body) });
      if (answer.status >= 300) throw new Error(`${path} answered ${answer.status}: ${answer.body}`);
      return readJson(answer);
    },
    stop: async () => {
      await server.kill();
      folder.remove();
    },
  };
}

/** What an envelope may have besides money: a name, windows, keys, identities, grants, a hold's worth of spending by a key. */
export async function furnish(
  { act, origin }: PanelServer,
  { id }: Funded,
  { name, keys, tag }: { readonly name: string; readonly keys: readonly [string, string]; readonly tag: string },
): Promise<void> {
  const windows = [
    { window_id: "burst", unit: "HOURLY", every: 6, alignment: "rolling", limit: "2500" },
    { window_id: "month", unit: "MONTHLY", time_zone: "Europe/Berlin", limit: "10000" },
    { window_id: "trial", unit: "ONCE", limit: "500" },
  ];
  await act("/configure", { id, name, windows });
  const [first, second] = keys;
  const capped = { capacity: "20", windows: [{ timeWindow: "DAILY", capacity: "5" }] };
  const made = await act("/keys", { envelopeId: id, name: first, ...capped });
  const { id: revoked } = await act("/keys", { envelopeId: id, name: second, scopes: ["read", "spend"] });
  await act(`/db/api/envelopes/${id}/keys/${String(revoked)}/revoke`, { reason: "it was in a repository" });
  const identity = {
    type: "EMAIL",
    value: `ada+${id}@example.com`,
    expiresAt: new Date(Date.now() + 864_000_000).toISOString(),
  };
  await act(`/envelopes/${id}/authorize`, identity);
  const headers = { Authorization: `Bearer ${String(made["key"])}`, "Content-Type": "application/json" };
  const spent = await send(origin, "/charge", {
    method: "POST",
    headers,
    body: JSON.stringify({ price: "60", reason: "nightly batch" }),
  });
  if (spent.status !== 200) throw new Error(`The key's charge came to ${spent.body}`);
  const expiresAt = new Date(Date.now() + 30 * 86_400_000).toISOString();
  await act(`/envelopes/${id}/grants`, { amount: "3", reason: "spring offer", expiresAt, priority: 10 });
  await act(`/envelopes/${id}/grants`, { amount: "1.5", reason: "for images", scope: tag });
}

function idOf(reference: string): string {
  const id = reference.split("_")[1];
  if (id === undefined) throw new Error(`No envelope in ${reference}`);
  return id;
}
