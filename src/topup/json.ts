/** Reading JSON that somebody else shaped: each field is checked where it is read, and nothing throws. */

export type Json = Readonly<Record<string, unknown>>;

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** A field that Stripe sends as an id, or as the object itself where it was expanded. */
export function idOf(value: unknown): string | undefined {
  if (typeof value === "string") return value === "" ? undefined : value;
  return isObject(value) && typeof value["id"] === "string" ? value["id"] : undefined;
}

/** What a table of ours says of a name that somebody else gave: nothing of what every object has, such as `constructor`. */
export function rowOf<Row>(table: Readonly<Record<string, Row>>, name: unknown): Row | undefined {
  return typeof name === "string" && Object.hasOwn(table, name) ? table[name] : undefined;
}

/** An amount in minor units; `undefined` unless it is a safe, non-negative integer. */
export function minor(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0 ? value : undefined;
}
