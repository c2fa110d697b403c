/** Which events move money, and who reads them. Everything else is Stripe's business with somebody else: ignored, never an error. */
import { isObject, type Json } from "./json.js";
import {
  type CreditRules,
  IGNORE,
  INTENT_STATES,
  isOtherMode,
  type Meaning,
  readIntent,
  readSession,
  SESSION_STATES,
  unclaimedPayment,
} from "./payment.js";
import { REVERSALS, readReversal } from "./reversal.js";

/** Every event the webhook acts on: what an endpoint has to be subscribed to. */
export const EVENT_TYPES: readonly string[] = [
  ...Object.keys(SESSION_STATES),
  ...Object.keys(INTENT_STATES),
  ...Object.keys(REVERSALS),
];

/** A thin event: says what happened to which object, and leaves the object to be fetched. */
export interface ThinEvent {
  readonly id: string;
  /** The type a snapshot of it would have: without the leading `v1.`. */
  readonly type: string;
  readonly object_id: string;
  readonly livemode: boolean;
  /** Seconds. */
  readonly created: number;
}

export function readEvent(event: unknown, rules: CreditRules): Meaning {
  if (!isObject(event) || event["object"] !== "event" || typeof event["id"] !== "string" || event["id"] === "")
    return IGNORE;
  const { type } = event;
  if (typeof type !== "string" || !EVENT_TYPES.includes(type)) return IGNORE;
  // Connect: an event of another account.
  if (typeof event["account"] === "string" || typeof event["context"] === "string") return IGNORE;

  const data = event["data"];
  const object = isObject(data) ? data["object"] : undefined;
  if (!isObject(object) || typeof object["id"] !== "string" || object["id"] === "") {
    // Of a payment that failed, nothing is to be kept.
    if (!Object.hasOwn(SESSION_STATES, type) || SESSION_STATES[type] === "failed") return IGNORE;
    const named = isObject(data) ? { id: data["id"] } : {};
    const reason = isOtherMode(event, rules) ? "livemode" : "malformed";
    return { kind: "unclaimed", payment: unclaimedPayment(event, named, reason, null) };
  }
  return reader(type)(event, object, rules);
}

function reader(type: string): (event: Json, object: Json, rules: CreditRules) => Meaning {
  if (Object.hasOwn(SESSION_STATES, type)) return readSession;
  return Object.hasOwn(INTENT_STATES, type) ? readIntent : readReversal;
}

/** `undefined` for what is not a thin event, or not one that moves money. https://docs.stripe.com/event-destinations */
export function readThin(event: unknown): ThinEvent | undefined {
  if (!isObject(event) || event["object"] !== "v2.core.event" || typeof event["id"] !== "string") return undefined;
  const type = String(event["type"]).replace(/^v1\./, "");
  const related = event["related_object"];
  const object_id = isObject(related) ? related["id"] : undefined;
  const created = Math.floor(Date.parse(String(event["created"])) / 1000);
  if (!EVENT_TYPES.includes(type) || typeof object_id !== "string" || !Number.isFinite(created)) return undefined;
  if (typeof event["context"] === "string") return undefined;
  return { id: event["id"], type, object_id, livemode: event["livemode"] === true, created };
}

/**
 * The snapshot that a thin event stands for, with the object as it is now: states only climb, so newer is as good. Where there is no
 * object, its id: all events of it are kept as one.
 */
export function snapshotOf({ id, type, livemode, created, object_id }: ThinEvent, object: unknown): Json {
  const data = object === undefined ? { id: object_id } : { object };
  return { id, object: "event", type, livemode, created, data };
}
