/** What happens to an envelope's tables, seldom: they are made with the first thing that is filed, and brought up to date on waking. */
import { migrate } from "../migrate.js";
import { ENVELOPE_MIGRATIONS } from "./schema.js";
import type { Store } from "./store.js";

/** Creates the tables, on the first write an envelope ever sees. Until there is an entry, the currency is whatever the last write was in. */
export function found(store: Store, envelopeId: string, currency: string, now_ms: number): void {
  if (store.exists && (store.head.seq > 0 || store.head.currency === currency)) return;
  migrate(store.storage, ENVELOPE_MIGRATIONS, now_ms);
  store.sql.exec(
    `INSERT INTO envelope (id, envelope_id, currency, created_at_ms) VALUES (1, ?, ?, ?)
     ON CONFLICT (id) DO UPDATE SET currency = excluded.currency`,
    envelopeId,
    currency,
    now_ms,
  );
  store.know({ currency });
}

export function bringUpToDate(store: Store, now_ms: number): void {
  migrate(store.storage, ENVELOPE_MIGRATIONS, now_ms);
  store.load();
}
