/**
 * Alerts: what is raised here, and what is still to be told. Decided in the turn of the charge, refund or top-up that changed how the
 * envelope stands, and stored in that turn; what goes to the owner's webhook is sent by the alarm.
 */

import { webhookTarget } from "../alert-settings.js";
import type { Alert, AlertRules } from "../contract.js";
import type { WebhookTarget } from "../outbound.js";
import { type AlertDecision, decideAlerts, type Raised, type Watched } from "./alerts.js";
import { Announcements } from "./announcements.js";
import type { Office } from "./office.js";

/** A fault in where alerts go must not stop a charge: it is told in the log, and the alerts go nowhere. */
function targetOf(env: unknown): WebhookTarget | undefined {
  try {
    return webhookTarget(env);
  } catch (error) {
    console.error("with-envelope:", (error as Error).message);
    return undefined;
  }
}

export class AlertsDesk {
  readonly #office: Office;
  readonly #announcements: Announcements;
  #raised: readonly Raised[];

  constructor(office: Office) {
    this.#office = office;
    this.#announcements = new Announcements(office.store.sql);
    // Once, when it is opened: a charge reads nothing.
    this.#raised = office.store.exists ? this.#load() : [];
  }

  /** What is to be told now. Without rules, only what is over. Call it after the write, in its turn. */
  notice(rules: AlertRules | undefined, now: number): readonly Alert[] {
    const { store } = this.#office;
    if (!store.exists) return [];
    if (rules === undefined && this.#raised.length === 0) return [];
    const decision = decideAlerts(this.#raised, this.#watched(now), rules);
    if (decision.raise.length > 0 || decision.clear.length > 0) this.#file(decision, now);
    return decision.tell;
  }

  /** Sends what is due. Answers in how many milliseconds to come back. */
  async send(): Promise<number | undefined> {
    const target = targetOf(this.#office.env);
    if (target === undefined) return undefined;
    await this.#announcements.send(target, Date.now);
    const next_ms = this.#announcements.next();
    return next_ms === undefined ? undefined : Math.max(0, next_ms - Date.now());
  }

  #watched(now: number): Watched {
    const { store } = this.#office;
    const { balance_micros, funded } = store.account(now);
    const windows = store.windows?.watched(store.timeOf(now)) ?? [];
    return { balance_micros, funded, prepaid: store.named.prepaid, windows };
  }

  #file({ raise, clear, tell }: AlertDecision, now: number): void {
    const { store, env, name } = this.#office;
    const told = targetOf(env) === undefined ? [] : tell;
    store.transaction(() => {
      for (const watch of clear) store.sql.exec("DELETE FROM alert WHERE watch = ?", watch);
      for (const { watch, threshold_micros, start_ms } of raise) {
        store.sql.exec(
          "INSERT OR REPLACE INTO alert (watch, threshold_micros, start_ms, at_ms) VALUES (?, ?, ?, ?)",
          watch,
          threshold_micros,
          start_ms,
          now,
        );
      }
      for (const alert of told) this.#announcements.file(name, store.head.currency ?? "", alert, now);
    });
    const gone = new Set([...clear, ...raise.map(({ watch }) => watch)]);
    this.#raised = [...this.#raised.filter(({ watch }) => !gone.has(watch)), ...raise];
    if (told.length > 0) this.#office.bell.armNow();
  }

  #load(): readonly Raised[] {
    return this.#office.store.sql
      .exec("SELECT watch, threshold_micros, start_ms FROM alert ORDER BY watch")
      .toArray() as unknown as Raised[];
  }
}
