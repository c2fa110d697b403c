/** The events to subscribe to: the very list the Worker acts on, out of the built package, so that the two cannot differ. */
import type { EventType } from "./model.js";

export async function eventTypes(): Promise<readonly EventType[]> {
  // dist/topup/events.js, seen from dist/cli: a path that exists only once both are built.
  const built: { readonly EVENT_TYPES?: unknown } = await import(new URL("../topup/events.js", import.meta.url).href);
  const types = built.EVENT_TYPES;
  if (!Array.isArray(types) || types.length === 0 || !types.every((type) => typeof type === "string")) {
    throw new Error("the package's list of events is missing");
  }
  return types as EventType[];
}
