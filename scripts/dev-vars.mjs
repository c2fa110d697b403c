/** Makes .dev.vars from .dev.vars.example when there is none, with random secrets that never leave this machine. */
import { randomBytes } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";

const target = new URL("../.dev.vars", import.meta.url);
if (!existsSync(target)) {
  const example = readFileSync(new URL("../.dev.vars.example", import.meta.url), "utf8");
  const filled = example
    .replace(/^ENVELOPE_SECRET=$/m, `ENVELOPE_SECRET=${randomBytes(32).toString("base64url")}`)
    .replace(/^ENVELOPE_ADMIN_SECRET=$/m, `ENVELOPE_ADMIN_SECRET=${randomBytes(32).toString("base64url")}`)
    .replace(/^STRIPE_WEBHOOK_SECRET=$/m, `STRIPE_WEBHOOK_SECRET=whsec_${randomBytes(24).toString("hex")}`);
  writeFileSync(target, filled, { mode: 0o600 });
  console.log("Made .dev.vars with random local secrets; ENVELOPE_ADMIN_SECRET there opens the panel at /db.");
}
