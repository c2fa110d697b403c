/** Which envelope an identity spends from: rows only. Each identity is one row for each secret it was named under, on one shard. */
import type { ClaimIdentityInput, IdentityPlace } from "../contract.js";

/** The first of these hashes that is known. */
export function identityPlace(sql: SqlStorage, hashes: readonly string[]): IdentityPlace | undefined {
  for (const hash of hashes) {
    const [row] = sql.exec("SELECT envelope_id, identity_id FROM identity WHERE hash = ?", hash).toArray();
    if (row !== undefined) return row as unknown as IdentityPlace;
  }
  return undefined;
}

/** Notes hashes under which it was not known yet: found under an earlier secret, it will be found when only the newest is left. */
export function nameIdentity(
  sql: SqlStorage,
  hashes: readonly string[],
  { envelope_id, identity_id }: IdentityPlace,
  now_ms: number,
): void {
  sql.exec(
    `INSERT INTO identity (hash, envelope_id, identity_id, at_ms) SELECT value, ?2, ?3, ?4 FROM json_each(?1) WHERE true
     ON CONFLICT DO NOTHING`,
    JSON.stringify(hashes),
    envelope_id,
    identity_id,
    now_ms,
  );
}

/** First one wins, in one turn, under whichever of the secrets it was named. Answers who has it now. */
export function claimIdentity(
  sql: SqlStorage,
  { hashes, envelope_id, identity_id }: ClaimIdentityInput,
  now_ms: number,
): IdentityPlace {
  for (const hash of hashes) {
    const known = identityPlace(sql, [hash]);
    if (known !== undefined && known.identity_id !== identity_id) return known;
  }
  const place = { envelope_id, identity_id };
  nameIdentity(sql, hashes, place, now_ms);
  return place;
}

export function releaseIdentity(sql: SqlStorage, identity_id: string): void {
  sql.exec("DELETE FROM identity WHERE identity_id = ?", identity_id);
}
