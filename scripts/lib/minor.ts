/** Prices on the wire, in US cents. Written anew and not taken from the package: a harness must not share its subject's faults. */

const MICROS_PER_CENT = 10_000;

/** 500 → "0.05" */
export function centsOf(micros: number): string {
  const fraction = String(micros % MICROS_PER_CENT)
    .padStart(4, "0")
    .replace(/0+$/, "");
  return `${Math.floor(micros / MICROS_PER_CENT)}${fraction === "" ? "" : `.${fraction}`}`;
}

/** "0.05" → 500; `undefined` for anything but digits with at most four after the point. */
export function microsOf(cents: string | undefined): number | undefined {
  const parts = /^(-?)(\d+)(?:\.(\d{1,4}))?$/.exec(cents ?? "");
  if (parts === null) return undefined;
  const micros = Number(parts[2]) * MICROS_PER_CENT + Number((parts[3] ?? "").padEnd(4, "0"));
  return parts[1] === "-" ? -micros : micros;
}
