/** What holds at the end of every file, and after each test of the owner's own suites: the owner's totals are the envelopes'. */
import { afterAll, afterEach, expect } from "vitest";
import { expectMirrored, isMirrorBroken } from "./support.js";

const OWNERS = /\/workers\/(admin|aggregate)\/|\/(aggregate|mirror)\.test\.ts$/;

const eachTime = OWNERS.test(expect.getState().testPath ?? "") ? afterEach : afterAll;
// Registered first, so that it runs last: after the clock and whatever was mocked are real again.
eachTime(async () => {
  if (!isMirrorBroken()) await expectMirrored();
});
