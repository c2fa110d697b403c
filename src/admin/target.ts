/** Which envelope an owner means. */
import { readReference } from "../reference.js";
import type { Asked } from "./owners-request.js";

export interface Target {
  readonly id: string;
  /** Named by a reference that we made: its envelope may be created, as it is no misspelt one. */
  readonly genuine: boolean;
}

/** By its id, or by a `client_reference_id` of ours. */
export function targetOf({ keys }: Pick<Asked, "keys">, text: string): Target | undefined {
  if (/^[0-9A-Za-z]{22}$/.test(text)) return { id: text, genuine: false };
  const reference = readReference(keys.reference, text);
  return reference && { id: reference.envelopeId, genuine: true };
}
