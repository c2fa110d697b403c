/** What the owner has to know or do that the command cannot do for them. */
import { linkOf } from "./catalog.js";
import { DEV_VARS, type DevVars } from "./dev-vars.js";
import { endpointOf, isTooOld, secretStatus } from "./endpoint.js";
import { Failure } from "./failure.js";
import type { State, Wish } from "./model.js";
import type { Done } from "./report.js";

/** Why the setup is not finished, though every step was taken. */
export function problemsOf(wish: Wish, state: State): Failure[] {
  const endpoint = endpointOf(state);
  if (endpoint === undefined) return [];
  const { id, api_version } = endpoint;
  if (isTooOld(endpoint)) {
    const version = api_version ?? "the account's default";
    return [
      new Failure(
        "webhook_version",
        `The webhook endpoint ${id} sends events of API version ${version}: too old, and it cannot be changed. Run again with --roll-webhook.`,
      ),
    ];
  }
  if (secretStatus(wish, state, endpoint) !== "unknown") return [];
  const place = wish.store === "wrangler" ? "was not put into wrangler by this command" : `is not in ${DEV_VARS}`;
  return [
    new Failure(
      "webhook_secret_unknown",
      `The webhook endpoint ${id} exists, but its signing secret ${place}, and Stripe tells it only when an endpoint is made. ` +
        "Run again with --roll-webhook: that makes a new endpoint, stores its secret, and then disables the old one. " +
        "Or reveal the secret in the Dashboard and set STRIPE_WEBHOOK_SECRET yourself; this command cannot check it then.",
    ),
  ];
}

/** `devVars`: where it was written to, if it was. */
export function notesOf(wish: Wish, state: State, done: readonly Done[], devVars: DevVars | undefined): string[] {
  const notes: string[] = [];
  const open = state.links.filter(({ id }) => id !== linkOf(wish, state)?.id).map(({ id }) => id);
  if (open.length > 0) {
    notes.push(
      `Earlier payment links are still open: ${open.join(", ")}. Callers may hold them; deactivate them in the Dashboard when nobody does.`,
    );
  }
  if (done.some((item) => "id" in item && item.step.params["disabled"] === true)) {
    notes.push(
      "Events that the old endpoint had not delivered are not sent to the new one by themselves: resend them in the Dashboard.",
    );
  }
  if (wish.login_by_payment) {
    const key = wish.store_key ? "" : " (a restricted key that may read is enough)";
    notes.push(`Login by payment also takes the option loginByPayment, and STRIPE_SECRET_KEY in the Worker${key}.`);
  }
  return devVars === undefined ? notes : [...notes, ...notesOnDevVars(devVars)];
}

function notesOnDevVars(devVars: DevVars): string[] {
  const notes: string[] = [];
  if (devVars.get("ENVELOPE_TEST_CHECKOUT") === "true") {
    notes.push(`${DEV_VARS} says ENVELOPE_TEST_CHECKOUT=true: remove it to be sent to Stripe.`);
  }
  if (devVars.get("ENVELOPE_SECRET") === "") notes.push(`${DEV_VARS} has no ENVELOPE_SECRET: openssl rand -base64 32`);
  if (devVars.isExposed()) notes.push(`${DEV_VARS} is not ignored by git: add it to .gitignore.`);
  return notes;
}
