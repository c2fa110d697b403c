/**
 * A Worker project in a folder of its own: wrangler.toml with the three lines per class that the README gives, and
 * .dev.vars. Outside the repository, so that a run neither sees nor touches the developer's own secrets and storage.
 */
import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PACKAGE_FOLDER } from "./folders.ts";

export const CLASSES = ["Envelope", "EnvelopeDirectory", "EnvelopeAggregate"] as const;

/** The date the package's own example is pinned to. */
export const COMPATIBILITY_DATE = pinnedDate();

export interface ProjectInput {
  readonly folder: string;
  /** The main module; an absolute path, or one inside the folder. */
  readonly main: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly compatibilityDate?: string;
  /** The lines that declare the classes; by default, as the README has them. */
  readonly classes?: string;
}

export function writeProject(input: ProjectInput): void {
  mkdirSync(input.folder, { recursive: true });
  writeFileSync(join(input.folder, "wrangler.toml"), wranglerToml(input));
  const lines = Object.entries(input.vars).map(([name, value]) => `${name}=${JSON.stringify(value)}\n`);
  writeFileSync(join(input.folder, ".dev.vars"), lines.join(""), { mode: 0o600 });
}

/** Secrets for one run, of this machine only. */
export function randomVars(): Readonly<
  Record<"ENVELOPE_SECRET" | "STRIPE_WEBHOOK_SECRET" | "STRIPE_PAYMENT_LINK", string>
> {
  return {
    ENVELOPE_SECRET: randomBytes(32).toString("base64url"),
    STRIPE_WEBHOOK_SECRET: `whsec_${randomBytes(24).toString("hex")}`,
    STRIPE_PAYMENT_LINK: "https://buy.stripe.com/test_harness",
  };
}

function wranglerToml({
  main,
  compatibilityDate = COMPATIBILITY_DATE,
  classes = readmeBlock("toml"),
}: ProjectInput): string {
  return `name = "harness"
main = ${JSON.stringify(main)}
compatibility_date = "${compatibilityDate}"

${classes}`;
}

/** How projects older than `[exports]` declare their classes. They cannot switch. */
export function bindingsAndMigration(): string {
  const bindings = CLASSES.map((name) => {
    const binding = name.replace(/(?<=[a-z])[A-Z]/g, (letter) => `_${letter}`).toUpperCase();
    return `[[durable_objects.bindings]]\nname = "${binding}"\nclass_name = "${name}"\n`;
  });
  return [...bindings, `[[migrations]]\ntag = "v1"\nnew_sqlite_classes = ${JSON.stringify(CLASSES)}\n`].join("\n");
}

/** The README's first block of a language: what users copy is what the harnesses run. */
export function readmeBlock(language: "toml" | "ts"): string {
  const readme = readFileSync(join(PACKAGE_FOLDER, "README.md"), "utf8");
  const block = new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, "ms").exec(readme)?.[1];
  if (block === undefined) throw new Error(`README.md has no ${language} block`);
  return block;
}

function pinnedDate(): string {
  const toml = readFileSync(join(PACKAGE_FOLDER, "wrangler.toml"), "utf8");
  const date = /^compatibility_date = "(\d{4}-\d{2}-\d{2})"$/m.exec(toml)?.[1];
  if (date === undefined) throw new Error("wrangler.toml has no compatibility_date");
  return date;
}
