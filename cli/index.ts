#!/usr/bin/env node
/** `npx with-envelope …`: finds the command, and turns whatever stops it into a sentence and an exit status. */
import { AUDIT_HELP, audit } from "./audit.js";
import { Failure, usage } from "./failure.js";
import { PROOF_HELP, proof, REBUILD_HELP, rebuild } from "./mirror.js";
import { STRIPE_HELP } from "./options.js";
import { print, printError } from "./report.js";
import { holdsSecret } from "./secrets.js";

const HELP = `Usage: with-envelope <command> [options]

  stripe    set up Stripe: product, price, payment link, webhook, secrets
  proof     hold the aggregate against every envelope's ledger
  rebuild   have every envelope send its entries to the aggregate again
  audit     check that no audit line was changed since it was written

with-envelope <command> --help says more.
`;

interface Command {
  readonly help: string;
  readonly run: (argv: readonly string[]) => Promise<number>;
}

const COMMANDS: Readonly<Record<string, Command>> = {
  // Loaded when it runs: nobody waits for the stripe package to read a help text.
  audit: { help: AUDIT_HELP, run: audit },
  proof: { help: PROOF_HELP, run: proof },
  rebuild: { help: REBUILD_HELP, run: rebuild },
  stripe: { help: STRIPE_HELP, run: async (argv) => (await import("./stripe.js")).stripe(argv) },
};

async function main([name, ...argv]: readonly string[]): Promise<number> {
  refuseSecrets([name ?? "", ...argv]);
  if (name === undefined) throw usage(HELP);
  if (name === "--help" || name === "-h" || name === "help") {
    print(HELP);
    return 0;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) throw usage(`Unknown command "${name}".\n\n${HELP}`);
  if (argv.includes("--help") || argv.includes("-h")) {
    print(command.help);
    return 0;
  }
  return command.run(argv);
}

/** By shape, wherever it stands, and by the options one would try. The value is not repeated. */
function refuseSecrets(argv: readonly string[]): void {
  if (!argv.some((argument) => holdsSecret(argument) || /^--?(?:(?:api|secret|stripe)-)?key(?:=|$)/.test(argument)))
    return;
  throw usage(
    "A key or secret is never given as an argument: it would stay in the shell's history, and show in the list of processes. " +
      "Nothing was done. Roll that key in the Stripe Dashboard if it was a real one. " +
      "Give a key by the environment variable STRIPE_SECRET_KEY, in .dev.vars, or with --key-stdin.",
  );
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  const failure = error instanceof Failure ? error : new Failure("internal", `Unexpected: ${String(error)}`);
  printError(failure.message);
  if (process.argv.includes("--json")) {
    print(JSON.stringify({ ok: false, error: { code: failure.code, message: failure.message } }));
  }
  process.exitCode = failure.exit;
}
