import { describe, expect, it } from "vitest";
import { gatheringMs } from "../../../src/envelope/pace.js";
import { ConfigurationError, mirrorPace } from "../../../src/settings.js";

describe("how long entries wait for company", () => {
  const pace = mirrorPace({});

  it.each([
    ["never shipped", Number.POSITIVE_INFINITY, 1_000],
    ["idle for long", 60_000, 1_000],
    ["just shipped", 0, 7_000],
    ["shipped two seconds ago", 2_000, 5_000],
    ["a clock that was set back", -3_600_000, 7_000],
  ])("%s", (_what, since_ms, wait_ms) => {
    expect(gatheringMs(pace, since_ms)).toBe(wait_ms);
  });

  it("is what the owner says, where they do", () => {
    expect(gatheringMs(mirrorPace({ ENVELOPE_MIRROR_SECONDS: "300" }), 60_000)).toBe(300_000);
    for (const wrong of ["0", "-1", "1.5", "3601", "soon"]) {
      expect(() => mirrorPace({ ENVELOPE_MIRROR_SECONDS: wrong }), wrong).toThrow(ConfigurationError);
    }
  });
});
