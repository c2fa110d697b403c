/** Where a request comes from, as far as counting needs it. Pure. */

/**
 * The address, or of IPv6 the /64 that one subscriber has all of: else each try would come from an address of its own.
 * Anything that is no address is one caller: it is counted all the same.
 */
export function networkOf(address: string | null): string {
  const text = (address ?? "").trim().toLowerCase();
  if (!text.includes(":")) return text === "" ? "unknown" : text;
  const mapped = /^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$/.exec(text)?.[1];
  if (mapped !== undefined) return mapped;
  const [head = "", tail] = text.split("%", 1).join("").split("::");
  const left = groups(head);
  const right = tail === undefined ? [] : groups(tail);
  const missing = Math.max(0, 8 - left.length - right.length);
  const all = tail === undefined ? left : [...left, ...Array.from({ length: missing }, () => "0"), ...right];
  return `${all
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}

function groups(part: string): readonly string[] {
  return part === "" ? [] : part.split(":");
}
