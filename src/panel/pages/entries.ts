/** Kinds of entries, in words and colours. */
import type { EntryKind } from "../../contract.js";
import type { VNode } from "../dom.js";
import { badge, type Tone } from "../parts.js";

const KINDS: Readonly<Record<EntryKind, readonly [string, Tone]>> = {
  charge: ["Charge", "calm"],
  usage: ["Usage", "calm"],
  refund: ["Refund", "accent"],
  topup: ["Top-up", "good"],
  grant: ["Grant", "accent"],
  clawback: ["Taken back", "bad"],
  reinstatement: ["Reinstated", "good"],
  expiry: ["Expired", "calm"],
  revocation: ["Revoked", "bad"],
};

export function kindBadge(kind: EntryKind): VNode {
  const [text, tone] = KINDS[kind] ?? [kind, "calm"];
  return badge(text, tone);
}
