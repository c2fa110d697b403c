/** What the environment says of the owner's door. */
import { ConfigurationError, PLACEHOLDER, SECRET_CHARS_MIN, variable } from "./settings.js";

/** The owner's secret; `undefined` where there is none, and then no owner's path exists. */
export function adminSecret(env: unknown): string | undefined {
  const name = "ENVELOPE_ADMIN_SECRET";
  const secret = variable(env, name);
  if (secret === "") return undefined;
  if (secret.length < SECRET_CHARS_MIN || PLACEHOLDER.test(secret)) {
    throw new ConfigurationError(name, `is weak: it takes at least ${SECRET_CHARS_MIN} random characters`);
  }
  if (secret === variable(env, "ENVELOPE_SECRET"))
    throw new ConfigurationError(name, "must not be the same as ENVELOPE_SECRET");
  return secret;
}

export interface AccessSettings {
  /** `https://<team>.cloudflareaccess.com`: who issues the tokens, and where its keys are. */
  readonly team: string;
  readonly audience: string;
}

/** Cloudflare Access as another way in for the owner; `undefined` where it is not set up. Half a set-up is a fault, never an open door. */
export function accessSettings(env: unknown): AccessSettings | undefined {
  const [team, audience] = [variable(env, "ENVELOPE_ACCESS_TEAM"), variable(env, "ENVELOPE_ACCESS_AUD")];
  if (team === "" && audience === "") return undefined;
  if (!/^https:\/\/[a-z0-9-]+\.cloudflareaccess\.com$/.test(team)) {
    throw new ConfigurationError("ENVELOPE_ACCESS_TEAM", "is not https://<team>.cloudflareaccess.com");
  }
  if (!/^[0-9a-zA-Z-]{16,128}$/.test(audience)) {
    throw new ConfigurationError("ENVELOPE_ACCESS_AUD", "is not an Access application's audience tag");
  }
  return { team, audience };
}
