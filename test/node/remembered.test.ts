/** What an isolate remembers of callers has to fit in it, whatever they send. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { identifyCaller } from "../../src/identity/caller.ts";
import { newToken, writeToken } from "../../src/identity/token.ts";
import { deriveKey } from "../../src/secrets.ts";
import type { Keyring, Keys } from "../../src/settings.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const heldBytes = (): number => {
  collect();
  return process.memoryUsage().heapUsed;
};

test("a thousand callers with 20 kB of cookies each take a kilobyte each, not all that they sent", () => {
  const token: Keyring = [deriveKey("a-root-secret-0123456789-abcdefghijklmn", "token")];
  const keys = { token } as Partial<Keys> as Keys;
  const presented = { identity: undefined, limited: false, cookies: true };
  const visit = (number: number): string => {
    // By way of bytes, as a header comes: one text, and not two that are yet to be joined.
    const Cookie = Buffer.from(
      `a=${number}${"x".repeat(20_000)}; __Host-we=${writeToken(token, newToken())}`,
    ).toString();
    const request = { headers: new Headers({ Cookie }) } as Request;
    return identifyCaller(request, "https://worker.test/x", () => keys, presented).kind;
  };
  for (let number = 0; number < 100; number++) expect(visit(number)).toBe("cookie");
  const before = heldBytes();
  for (let number = 0; number < 1_000; number++) visit(number);
  expect(heldBytes() - before).toBeLessThan(2_000_000);
});
