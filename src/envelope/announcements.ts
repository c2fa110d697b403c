/**
 * What is to be told to the owner's webhook: stored in the turn of what it tells of, sent by the alarm, at least once, with the same
 * id each time. One that nobody takes in three days stays, marked, so that it is not lost without a trace.
 */
import type { Alert } from "../contract.js";
import { deliver, nextTryMs, type WebhookTarget } from "../outbound.js";
import { randomBase62 } from "../secrets.js";

interface Due {
  readonly announcement_id: number;
  readonly message_id: string;
  readonly body: string;
  readonly tries: number;
  readonly next_try_ms: number;
}

/** Alerts of one envelope come slowly; a few at a time keep one alarm short. */
const PER_RUN_MAX = 20;

const DUE =
  "SELECT announcement_id, message_id, body, tries, next_try_ms FROM announcement WHERE next_try_ms IS NOT NULL";

export class Announcements {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** In the transaction of what it tells of. */
  file(envelope_id: string, currency: string, alert: Alert, now_ms: number): void {
    const { kind, ...data } = alert;
    const body = { type: `envelope.${kind}`, timestamp: new Date(now_ms).toISOString() };
    this.#sql.exec(
      "INSERT INTO announcement (message_id, body, at_ms, tries, next_try_ms) VALUES (?, ?, ?, 0, ?)",
      `msg_${randomBase62(22)}`,
      JSON.stringify({ ...body, data: { envelope_id, currency, ...data } }),
      now_ms,
      now_ms,
    );
  }

  /** When the next one is due; `undefined` when none is. */
  next(): number | undefined {
    const [row] = this.#sql
      .exec("SELECT min(next_try_ms) AS at_ms FROM announcement WHERE next_try_ms IS NOT NULL")
      .toArray();
    return (row?.["at_ms"] as number | null | undefined) ?? undefined;
  }

  /** Sends what is due, in its order. A receiver that fails is left alone for its pause, and the others wait behind it. */
  async send(target: WebhookTarget, now: () => number): Promise<void> {
    for (let sent = 0; sent < PER_RUN_MAX; sent++) {
      const [due] = this.#sql.exec(`${DUE} ORDER BY announcement_id LIMIT 1`).toArray() as unknown as Due[];
      if (due === undefined || due.next_try_ms > now()) return;
      const { message_id: id, body } = due;
      const outcome = await deliver(target, { id, body }, now());
      if (outcome === "delivered") {
        this.#sql.exec("DELETE FROM announcement WHERE announcement_id = ?", due.announcement_id);
        continue;
      }
      const tries = due.tries + 1;
      const pause_ms = outcome === "gone" ? undefined : nextTryMs(tries, Math.random());
      this.#sql.exec(
        "UPDATE announcement SET tries = ?, next_try_ms = ? WHERE announcement_id = ?",
        tries,
        pause_ms === undefined ? null : now() + pause_ms,
        due.announcement_id,
      );
      if (pause_ms !== undefined) return;
      console.error("with-envelope: a webhook was given up:", id);
    }
  }
}
