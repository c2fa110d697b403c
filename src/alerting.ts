/** Tells the app of an alert, beside the response. What must be told whatever becomes of this Worker goes by the webhook. */
import * as workers from "cloudflare:workers";
import type { Alert } from "./contract.js";

/** An alert, and whose. */
export type EnvelopeAlert = Alert & { readonly envelope_id: string; readonly currency: string };

export type AlertListener = (alert: EnvelopeAlert) => void | Promise<void>;

export interface AlertListeners {
  readonly onAlert: AlertListener | undefined;
  readonly onLowBalance: AlertListener | undefined;
}

const waitUntil = (workers as { readonly waitUntil?: (work: Promise<unknown>) => void }).waitUntil;

/** Never throws: a listener that fails is the app's, and the charge is done. */
export function tellAlerts(
  { onAlert, onLowBalance }: AlertListeners,
  alerts: readonly Alert[] | undefined,
  whose: Omit<EnvelopeAlert, keyof Alert>,
): void {
  for (const alert of alerts ?? []) {
    const told: EnvelopeAlert = { ...alert, ...whose };
    const listeners = alert.kind === "low_balance" ? [onAlert, onLowBalance] : [onAlert];
    for (const listener of listeners) if (listener !== undefined) waitUntil?.(tell(listener, told));
  }
}

async function tell(listener: AlertListener, alert: EnvelopeAlert): Promise<void> {
  try {
    await listener(alert);
  } catch (error) {
    console.error("with-envelope: a listener of alerts failed", error);
  }
}
