/** What an act of the owner's, or of their servers, crossed is told as what a request of a holder's crosses. */
import { tellAlerts } from "../alerting.js";
import type { Alerted } from "../contract.js";
import type { Asked } from "./owners-request.js";

export function tell({ options, currency }: Asked, envelope_id: string, { alerts }: Alerted): void {
  if (alerts !== undefined) tellAlerts(options, alerts, { envelope_id, currency: currency.code });
}
