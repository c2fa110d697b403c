/** What the environment says of where alerts are sent. */
import type { WebhookTarget } from "./outbound.js";
import { ConfigurationError, variable } from "./settings.js";
import { isLocalHost } from "./wire.js";

/** Fewer bytes could be guessed from one signature. */
const WEBHOOK_SECRET_BYTES_MIN = 24;

/** Where alerts are sent; `undefined` where they are not. https only, but on this machine: what is sent is nobody else's business. */
export function webhookTarget(env: unknown): WebhookTarget | undefined {
  const name = "ENVELOPE_WEBHOOK_URL";
  const address = variable(env, name);
  if (address === "") return undefined;
  if (!URL.canParse(address)) throw new ConfigurationError(name, "is not a URL");
  const url = new URL(address);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && isLocalHost(url.hostname))) {
    throw new ConfigurationError(name, "must be https");
  }
  const secrets = variable(env, "ENVELOPE_WEBHOOK_SECRET")
    .split(",")
    .map((part) => bytesOf(part.trim()));
  const [first, ...rest] = secrets.filter((secret) => secret !== undefined);
  if (first === undefined || rest.length + 1 < secrets.length) {
    throw new ConfigurationError(
      "ENVELOPE_WEBHOOK_SECRET",
      `must be whsec_ and the base64 of at least ${WEBHOOK_SECRET_BYTES_MIN} random bytes`,
    );
  }
  return { url, secrets: [first, ...rest] };
}

/** Whether there is an address at all, good or bad. */
export function hasWebhook(env: unknown): boolean {
  return variable(env, "ENVELOPE_WEBHOOK_URL") !== "";
}

function bytesOf(secret: string): Uint8Array | undefined {
  try {
    const bytes = Uint8Array.from(atob(secret.replace(/^whsec_/, "")), (char) => char.charCodeAt(0));
    return bytes.length < WEBHOOK_SECRET_BYTES_MIN ? undefined : bytes;
  } catch {
    return undefined;
  }
}
