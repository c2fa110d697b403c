/** What one charge and one shipment cost in rows and requests: counted by `npm run bench`, or as it counted them last. */

export interface Measured {
  /** Where the figures come from, as the report prints it. */
  readonly source: string;
  readonly rows_written_per_charge: number;
  /** Of a shipment of one batch: the alarm, the cursor and all that the aggregate writes. */
  readonly rows_written_per_shipment: number;
  /** Per charge, its share of a shipment included. */
  readonly rows_read_per_charge: number;
}

type Counts = Readonly<Record<string, number>>;

/** `counts` of `npm run bench -- --json`, with a shipment every 7 s at most; `--bench` replaces them. */
const DEFAULTS: Counts = {
  rows_written_per_charge: 1,
  mirror_and_alarm_rows_per_charge_at_10_per_second: 0.233333,
  object_requests_per_charge: 1.033333,
  rows_read_per_charge_at_10_per_second: 4.083,
};

export const DEFAULT_MEASURED: Measured = measuredFrom(
  DEFAULTS,
  "defaults, measured by: npm run bench -- --json (counts), 2026-11-29",
);

/** From the report of `npm run bench -- --json`. */
export function measuredFromReport(report: unknown, file: string): Measured {
  const counts = typeof report === "object" && report !== null && "counts" in report ? report.counts : undefined;
  if (typeof counts !== "object" || counts === null) throw new TypeError(`${file} has no counts`);
  return measuredFrom(counts as Counts, `counts of ${file}`);
}

/**
 * A shipment is one alarm and one batch, which is two requests besides the charge's own: so the requests say how many
 * shipments there were in the run that was counted, and what they wrote can be divided by them. At 10 charges per second
 * a batch is never full, so it is one for each alarm.
 */
function measuredFrom(counts: Counts, source: string): Measured {
  const of = (name: string): number => {
    const count = counts[name];
    if (typeof count !== "number" || !Number.isFinite(count)) throw new TypeError(`${source}: ${name} is missing`);
    return count;
  };
  const shipments = (of("object_requests_per_charge") - 1) / 2;
  if (!(shipments > 0)) throw new TypeError(`${source}: object_requests_per_charge is not above 1`);
  return {
    source,
    rows_written_per_charge: of("rows_written_per_charge"),
    rows_written_per_shipment: of("mirror_and_alarm_rows_per_charge_at_10_per_second") / shipments,
    rows_read_per_charge: counts["rows_read_per_charge_at_10_per_second"] ?? 0,
  };
}
