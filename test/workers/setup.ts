/** What holds after each test of every file: the owner's totals are the envelopes'. */
import { afterEach } from "vitest";
import { expectMirrored, isMirrorBroken } from "./support.js";

// Registered first, so that it runs last: after the clock and whatever was mocked are real again.
afterEach(async () => {
  if (!isMirrorBroken()) await expectMirrored();
});
