/** A key or an identity, as the control plane shows it: amounts in main units with micros beside them, times as ISO 8601. */
import type { SpenderView } from "./contract.js";
import { formatMain, type Micros } from "./money.js";
import { timeText, windowBody } from "./window-body.js";

const KEY_PREFIX = "we_k1_";

export function spenderBody(spender: SpenderView) {
  const { id, kind, minted, last4, name, scopes, status, charges, made_by } = spender;
  const { cap_micros, remaining_micros, spent_micros, refunded_micros } = spender;
  return {
    id,
    type: kind,
    name,
    /** How a key of ours begins and ends: enough to tell it by, and no use to anybody. */
    prefix: minted ? KEY_PREFIX : null,
    last4,
    scopes,
    status,
    capacity: main(cap_micros),
    capacity_micros: cap_micros,
    remaining: main(remaining_micros),
    remaining_micros,
    spent: formatMain(spent_micros),
    spent_micros,
    refunded_micros,
    charges,
    windows: spender.windows.map(windowBody),
    madeBy: made_by,
    createdAt: timeText(spender.at_ms),
    expiresAt: timeText(spender.expires_at_ms),
    revokedAt: timeText(spender.revoked_at_ms),
    lastUsedAt: timeText(spender.last_used_at_ms),
  };
}

function main(micros: Micros | null): string | null {
  return micros === null ? null : formatMain(micros);
}
