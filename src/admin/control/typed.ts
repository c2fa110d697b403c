/** What a value of a schema of ours is, as a TypeScript type: of the few keywords of JSON Schema that schemas.ts uses. Types only. */

export type Of<Schema> = Schema extends { readonly enum: readonly (infer Each)[] }
  ? Each
  : Schema extends { readonly type: readonly (infer Each)[] }
    ? OfType<Each, Schema>
    : Schema extends { readonly type: infer One }
      ? OfType<One, Schema>
      : unknown;

/** Distributes over the names of types, so that `["string", "null"]` is `string | null`. */
type OfType<Name, Schema> = Name extends "string"
  ? string
  : Name extends "integer" | "number"
    ? number
    : Name extends "boolean"
      ? boolean
      : Name extends "null"
        ? null
        : Name extends "array"
          ? Schema extends { readonly items: infer Item }
            ? readonly Of<Item>[]
            : readonly unknown[]
          : Name extends "object"
            ? OfObject<Schema>
            : unknown;

type OfObject<Schema> = Schema extends { readonly properties: infer Properties }
  ? { readonly [Name in keyof Properties & Needed<Schema>]: Of<Properties[Name]> } & {
      readonly [Name in Exclude<keyof Properties, Needed<Schema>>]?: Of<Properties[Name]> | undefined;
    }
  : Readonly<Record<string, unknown>>;

type Needed<Schema> = Schema extends { readonly required: readonly (infer Name)[] } ? Name : never;
