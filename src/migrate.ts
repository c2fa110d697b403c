/** Numbered schema migrations for the three objects. Each object's list only grows; a landed migration never changes. */

/** True once anything was ever stored. Reads only, so that asking an object that holds nothing stores nothing. */
export function hasSchema(storage: DurableObjectStorage): boolean {
  return storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'migration'").toArray().length > 0;
}

/**
 * Brings the schema up to date. A migration and its version row are one transaction: an interrupted one leaves nothing
 * behind. (`PRAGMA user_version` is refused by Durable Objects, so the version is a table.)
 */
export function migrate(storage: DurableObjectStorage, migrations: readonly string[], now_ms: number): void {
  const { sql } = storage;
  storage.transactionSync(() => {
    sql.exec("CREATE TABLE IF NOT EXISTS migration (version INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL) STRICT");
    const [row] = sql.exec<{ version: number }>("SELECT coalesce(max(version), 0) AS version FROM migration").toArray();
    const done = row?.version ?? 0;
    migrations.slice(done).forEach((statements, index) => {
      sql.exec(statements);
      sql.exec("INSERT INTO migration (version, at_ms) VALUES (?, ?)", done + index + 1, now_ms);
    });
  });
}
