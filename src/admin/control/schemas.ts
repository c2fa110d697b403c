/**
 * The shapes of the control plane, as JSON Schema (2020-12): what the OpenAPI document says, what a body is checked against, and what
 * the client's types are derived from. One source for the three. Amounts are in main units (`"10.5"` is ten dollars and a half);
 * answers carry exact micros beside them.
 */
import { PRIORITY_MAX } from "../../contract.js";

/** A decimal without sign, exponent or needless zero, as a string or as a number whose text fits. */
const amount = {
  type: ["string", "number"],
  pattern: "^(0|[1-9][0-9]{0,11})(\\.[0-9]{1,6})?$",
  minimum: 0,
  description: 'Main units: "10.5" or 10.5',
} as const;

const micros = { type: "integer", description: "Millionths of the main unit" } as const;
const money = { type: "string", description: "Main units, exact" } as const;
const nullableMoney = { type: ["string", "null"] } as const;
const nullableMicros = { type: ["integer", "null"] } as const;
const text = { type: "string" } as const;
const nullableText = { type: ["string", "null"] } as const;
const instant = { type: "string", format: "date-time" } as const;
const nullableInstant = { type: ["string", "null"], format: "date-time" } as const;
const name = { type: "string", minLength: 1, maxLength: 128 } as const;
/** Of a key or an identity. */
const spenderName = { type: "string", minLength: 1, maxLength: 100 } as const;
const reason = { type: "string", minLength: 1, maxLength: 256, description: "Kept in the audit for ever" } as const;
const metadata = { type: "object", description: "At most 4,096 characters of JSON" } as const;

const timeWindow = {
  type: "string",
  enum: ["HOURLY", "DAILY", "WEEKLY", "MONTHLY", "ANNUAL", "ONCE"],
} as const;

const windowRule = {
  timeWindow,
  every: { type: "integer", minimum: 1, maximum: 10000, description: "Every so many units; default 1" },
  timeZone: { type: "string", minLength: 1, maxLength: 64, description: 'IANA name; default "UTC"' },
  weekStart: {
    type: "integer",
    minimum: 1,
    maximum: 7,
    description: "Weeks of the calendar begin on this day; default 1, Monday",
  },
  anchor: { ...instant, description: "Periods begin at this instant and then every so many units" },
  rolling: { type: "boolean", description: "The last so many units, up to now" },
} as const;

export const newWindow = {
  type: "object",
  required: ["timeWindow", "capacity"],
  properties: { ...windowRule, capacity: amount },
  additionalProperties: false,
} as const;

export const windowStatus = {
  type: "object",
  required: [
    "id",
    "timeWindow",
    "every",
    "alignment",
    "timeZone",
    "weekStart",
    "anchor",
    "capacity",
    "capacity_micros",
    "spent",
    "spent_micros",
    "held_micros",
    "remaining",
    "remaining_micros",
    "windowStart",
    "windowEnd",
    "resetsAt",
  ],
  properties: {
    id: text,
    timeWindow,
    every: { type: "integer" },
    alignment: { type: "string", enum: ["calendar", "anchored", "rolling"] },
    timeZone: text,
    weekStart: { type: "integer" },
    anchor: nullableInstant,
    capacity: money,
    capacity_micros: micros,
    spent: money,
    spent_micros: micros,
    held_micros: micros,
    remaining: money,
    remaining_micros: micros,
    windowStart: nullableInstant,
    windowEnd: nullableInstant,
    resetsAt: nullableInstant,
  },
} as const;

export const newEnvelope = {
  type: "object",
  required: ["name"],
  properties: {
    name,
    ...windowRule,
    capacity: amount,
    currency: { type: "string", minLength: 3, maxLength: 3, description: "The deployment's, where it is given" },
    ownerAccountId: { type: "string", minLength: 1, maxLength: 128 },
    prepaid: {
      type: "boolean",
      description: "false: limited by its windows alone, with no balance. Default: false with a window, true without",
    },
    windows: { type: "array", items: newWindow, maxItems: 8 },
  },
  additionalProperties: false,
} as const;

export const newWindows = {
  type: "object",
  required: ["windows", "reason"],
  properties: { windows: { type: "array", items: newWindow, maxItems: 8 }, reason },
  additionalProperties: false,
} as const;

export const envelope = {
  type: "object",
  required: [
    "id",
    "name",
    "currency",
    "ownerAccountId",
    "prepaid",
    "state",
    "timeWindow",
    "capacity",
    "capacity_micros",
    "windows",
    "clientReferenceId",
  ],
  properties: {
    id: text,
    name: nullableText,
    currency: text,
    ownerAccountId: nullableText,
    prepaid: { type: "boolean" },
    state: { type: "string", enum: ["active", "frozen"] },
    timeWindow: { type: ["string", "null"] },
    capacity: nullableMoney,
    capacity_micros: nullableMicros,
    windows: { type: "array", items: windowStatus },
    clientReferenceId: text,
  },
} as const;

export const envelopeStatus = {
  type: "object",
  required: [
    "id",
    "name",
    "currency",
    "prepaid",
    "state",
    "capacity",
    "capacity_micros",
    "spent",
    "spent_micros",
    "remaining",
    "remaining_micros",
    "windowStart",
    "windowEnd",
    "resetsAt",
    "balance",
    "balance_micros",
    "available",
    "available_micros",
    "held_micros",
    "holds",
    "windows",
  ],
  properties: {
    id: text,
    name: nullableText,
    currency: text,
    prepaid: { type: "boolean" },
    state: { type: "string", enum: ["active", "frozen"] },
    capacity: nullableMoney,
    capacity_micros: nullableMicros,
    spent: nullableMoney,
    spent_micros: nullableMicros,
    remaining: nullableMoney,
    remaining_micros: nullableMicros,
    windowStart: nullableInstant,
    windowEnd: nullableInstant,
    resetsAt: nullableInstant,
    balance: money,
    balance_micros: micros,
    available: money,
    available_micros: micros,
    held_micros: micros,
    holds: { type: "integer", description: "Open ones" },
    windows: { type: "array", items: windowStatus },
  },
} as const;

const identityType = {
  type: "string",
  enum: ["USERNAME", "EMAIL", "PHONE", "API_KEY", "WALLET", "CUSTOM"],
} as const;

const scopes = {
  type: "array",
  items: { type: "string", enum: ["spend", "read", "keys"] },
  minItems: 1,
  maxItems: 3,
} as const;

const spenderWindows = {
  type: "array",
  items: newWindow,
  maxItems: 4,
  description: "Of the calendar or anchored; only an envelope's may roll",
} as const;

export const newIdentity = {
  type: "object",
  required: ["type", "value"],
  properties: {
    type: identityType,
    value: { type: "string", minLength: 1, maxLength: 512, description: "Stored as a keyed hash only" },
    name: spenderName,
    scopes,
    capacity: { ...amount, description: "What it may spend in all, in main units" },
    windows: spenderWindows,
    expiresAt: instant,
  },
  additionalProperties: false,
} as const;

const spenderProperties = {
  id: text,
  type: text,
  name: nullableText,
  prefix: nullableText,
  last4: nullableText,
  scopes,
  status: { type: "string", enum: ["active", "pending", "expired", "revoked"] },
  capacity: nullableMoney,
  capacity_micros: nullableMicros,
  remaining: nullableMoney,
  remaining_micros: nullableMicros,
  spent: money,
  spent_micros: micros,
  refunded_micros: micros,
  charges: { type: "integer" },
  windows: { type: "array", items: windowStatus },
  madeBy: nullableText,
  createdAt: instant,
  expiresAt: nullableInstant,
  revokedAt: nullableInstant,
  lastUsedAt: nullableInstant,
} as const;

const spenderNames = [
  "id",
  "type",
  "name",
  "prefix",
  "last4",
  "scopes",
  "status",
  "capacity",
  "capacity_micros",
  "remaining",
  "remaining_micros",
  "spent",
  "spent_micros",
  "refunded_micros",
  "charges",
  "windows",
  "madeBy",
  "createdAt",
  "expiresAt",
  "revokedAt",
  "lastUsedAt",
] as const;

/** Who may spend beside the holder: an identity that the owner authorised, or an API key. */
export const spender = { type: "object", required: spenderNames, properties: spenderProperties } as const;

export const newKey = {
  type: "object",
  properties: {
    envelopeId: {
      type: "string",
      description: "An envelope's id, or its client_reference_id; the owner's servers name it",
    },
    name: spenderName,
    scopes,
    capacity: { ...amount, description: "What it may spend in all, in main units" },
    windows: spenderWindows,
    expiresAt: instant,
  },
  additionalProperties: false,
} as const;

export const mintedKey = {
  type: "object",
  required: ["key", ...spenderNames],
  properties: { key: { type: "string", description: "Shown once" }, ...spenderProperties },
} as const;

export const newGrant = {
  type: "object",
  required: ["amount", "reason"],
  properties: {
    amount,
    reason,
    priority: { type: "integer", minimum: 0, maximum: PRIORITY_MAX, description: "Lower is spent first" },
    expiresAt: instant,
    scope: { type: "string", minLength: 1, maxLength: 128 },
  },
  additionalProperties: false,
} as const;

export const newRefund = {
  type: "object",
  required: ["reason"],
  properties: {
    seq: { type: "integer", minimum: 1, description: "Number of the charge" },
    key: { type: "string", minLength: 1, maxLength: 255, description: "requestId of the usage, instead of its number" },
    amount: { ...amount, description: "All that is left of the charge when absent" },
    reason,
  },
  additionalProperties: false,
} as const;

export const onlyReason = {
  type: "object",
  required: ["reason"],
  properties: { reason },
  additionalProperties: false,
} as const;

export const acted = {
  type: "object",
  required: ["outcome", "seq", "balance", "balance_micros", "state"],
  properties: {
    outcome: text,
    seq: { type: ["integer", "null"] },
    balance: money,
    balance_micros: micros,
    state: { type: "string", enum: ["active", "frozen"] },
  },
} as const;

export const newUsage = {
  type: "object",
  required: ["amount", "identity", "identityType"],
  properties: {
    amount,
    identity: {
      type: "string",
      minLength: 1,
      maxLength: 512,
      description: "Of the type API_KEY also a key that was made here",
    },
    identityType,
    metadata: { ...metadata, description: "requestId doubles as the idempotency key; endpoint is shown as the reason" },
  },
  additionalProperties: false,
} as const;

export const usage = {
  type: "object",
  required: [
    "id",
    "status",
    "replayed",
    "envelopeId",
    "amount",
    "amount_micros",
    "remaining",
    "remaining_micros",
    "currency",
  ],
  properties: {
    id: nullableText,
    status: { type: "string", enum: ["SUCCESS"] },
    replayed: { type: "boolean" },
    envelopeId: text,
    amount: money,
    amount_micros: micros,
    remaining: money,
    remaining_micros: micros,
    currency: text,
  },
} as const;

export const usageRecord = {
  type: "object",
  required: ["id", "status", "at", "amount", "amount_micros", "detail", "requestId", "identityId", "metadata"],
  properties: {
    id: text,
    status: { type: "string", enum: ["SUCCESS", "BLOCKED", "ERROR"] },
    at: instant,
    amount: money,
    amount_micros: micros,
    detail: { ...nullableText, description: "Of a refusal: the limit that said no" },
    requestId: nullableText,
    identityId: nullableText,
    metadata: { type: ["object", "null"] },
  },
} as const;

export const entry = {
  type: "object",
  required: [
    "seq",
    "at",
    "kind",
    "amount",
    "amount_micros",
    "balance",
    "balance_micros",
    "key",
    "refSeq",
    "reason",
    "metadata",
  ],
  properties: {
    seq: { type: "integer" },
    at: instant,
    kind: text,
    amount: { type: "string", description: "Signed effect on the balance, main units" },
    amount_micros: micros,
    balance: money,
    balance_micros: micros,
    key: nullableText,
    refSeq: { type: ["integer", "null"] },
    reason: nullableText,
    metadata: { type: ["object", "array", "string", "number", "boolean", "null"] },
  },
} as const;

export const auditLine = {
  type: "object",
  required: ["id", "at", "at_ms", "actor", "action", "reason", "before", "after", "hash"],
  properties: {
    id: { type: "integer" },
    at: instant,
    at_ms: { type: "integer" },
    actor: text,
    action: text,
    reason: nullableText,
    before: { ...nullableText, description: "JSON, as it was sealed" },
    after: { ...nullableText, description: "JSON, as it was sealed" },
    hash: text,
  },
} as const;

export const topUp = {
  type: "object",
  required: ["id", "origin", "status", "at", "amount", "amount_micros", "currency", "paymentIntentId", "failure"],
  properties: {
    id: { type: "integer" },
    origin: { type: "string", enum: ["api", "auto"] },
    status: { type: "string", enum: ["PENDING", "SUCCEEDED", "FAILED"] },
    at: instant,
    amount: money,
    amount_micros: micros,
    currency: text,
    paymentIntentId: nullableText,
    failure: nullableText,
  },
} as const;

export const newTopUp = {
  type: "object",
  required: ["envelopeId", "amount"],
  properties: { envelopeId: text, amount },
  additionalProperties: false,
} as const;

export const askedTopUp = {
  type: "object",
  required: ["paymentIntentId", "clientSecret", "status", "amount", "amount_micros", "currency"],
  properties: {
    paymentIntentId: nullableText,
    clientSecret: nullableText,
    status: { type: "string", enum: ["PENDING", "SUCCEEDED", "FAILED"] },
    amount: money,
    amount_micros: micros,
    currency: text,
  },
} as const;

export const newAutoTopUp = {
  type: "object",
  required: ["enabled"],
  properties: {
    enabled: { type: "boolean" },
    customer: { type: "string", pattern: "^cus_\\w{1,64}$", description: "Stripe's customer; needed to enable it" },
    paymentMethod: { type: "string", pattern: "^(pm|card|src)_\\w{1,64}$", description: "Saved by that customer" },
  },
} as const;

/** Whose card is charged when the balance is low. */
export const autoTopUp = {
  type: "object",
  required: ["autoTopUp"],
  properties: {
    autoTopUp: {
      type: ["object", "null"],
      required: ["enabled", "status", "stopped", "lastFailure"],
      properties: {
        enabled: { type: "boolean" },
        status: { type: "string", enum: ["off", "ready", "pending", "stopped"] },
        stopped: { ...nullableText, description: "Why it is charged no more" },
        lastFailure: nullableText,
      },
    },
  },
} as const;

/** RFC 9457, with the members of a refusal (CONTRACT of the package: README, "Headers"). */
export const problem = {
  type: "object",
  required: ["type", "title", "status", "detail"],
  properties: {
    type: text,
    title: text,
    status: { type: "integer" },
    detail: text,
    limit: { type: "string", enum: ["balance", "window", "key", "frozen"] },
    price: text,
    balance: text,
    shortfall: text,
    currency: text,
    resetsAt: nullableInstant,
    canTopUp: { type: "boolean" },
    paymentLink: nullableText,
    usage: {
      type: "object",
      required: ["status"],
      properties: {
        status: { type: "string", enum: ["BLOCKED", "ERROR"] },
        id: nullableText,
        envelopeId: nullableText,
      },
    },
  },
} as const;

/** A page of a list: `next` is the query parameter `cursor` of the following one. */
export function pageOf<Name extends string, Item>(list: Name, items: Item) {
  return {
    type: "object",
    required: [list, "next"] as readonly (Name | "next")[],
    properties: { [list]: { type: "array", items }, next: nullableText } as Readonly<
      Record<Name, { readonly type: "array"; readonly items: Item }> & Record<"next", typeof nullableText>
    >,
  } as const;
}
