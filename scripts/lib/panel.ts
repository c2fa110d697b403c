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
    stop: async () => {
      await server.kill();
      folder.remove();
    },
  };
}

function idOf(reference: string): string {
  const id = reference.split("_")[1];
  if (id === undefined) throw new Error(`No envelope in ${reference}`);
  return id;
}
