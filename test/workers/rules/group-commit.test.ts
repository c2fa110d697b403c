import { describe, expect, it } from "vitest";
import { GroupCommit } from "../../../src/envelope/group-commit.js";

/** A disk that lands when it is told to. */
function disk() {
  const flights: { land: () => void; crash: (reason: unknown) => void }[] = [];
  const sync = () =>
    new Promise<void>((resolve, reject) => {
      flights.push({ land: resolve, crash: reject });
    });
  const settled = () => new Promise((resolve) => setTimeout(resolve));
  return { flights, sync, settled };
}

/** In one millisecond, until it is another. */
const clock = { ms: 0 };
const grouping = (sync: () => Promise<void>) => new GroupCommit(sync, () => clock.ms);

describe("group commit", () => {
  it("does at once who comes alone in their millisecond, and looks after no commit", () => {
    const { flights, sync } = disk();
    const group = grouping(sync);
    const done: number[] = [];
    for (const number of [1, 2, 3]) {
      clock.ms += 1;
      void group.run(() => done.push(number));
    }
    expect(done).toEqual([1, 2, 3]);
    expect(flights).toHaveLength(0);
  });

  it("does at once the second of a millisecond, too, and looks after its commit", () => {
    const { flights, sync } = disk();
    const group = grouping(sync);
    const done: number[] = [];
    for (const number of [1, 2]) void group.run(() => done.push(number));
    expect(done).toEqual([1, 2]);
    expect(flights).toHaveLength(1);
  });

  it("does together, in their order and in one turn, what arrives while a watched commit is on its way", async () => {
    const { flights, sync, settled } = disk();
    const group = grouping(sync);
    const turns: string[] = [];
    for (const name of ["first", "second"]) void group.run(() => turns.push(name));
    const rest = [1, 2, 3].map((number) => {
      // However much later: as long as the commit takes.
      clock.ms += 5;
      return group.run(() => turns.push(`rest ${number}`));
    });
    await settled();
    expect(turns).toEqual(["first", "second"]);
    flights[0]?.land();
    void Promise.resolve()
      .then(() => Promise.resolve())
      .then(() => turns.push("next turn"));
    expect(await Promise.all(rest)).toEqual([3, 4, 5]);
    expect(turns.slice(0, 5)).toEqual(["first", "second", "rest 1", "rest 2", "rest 3"]);
    expect(flights).toHaveLength(2);
  });

  it("is idle again once a commit lands and nobody waited", async () => {
    const { flights, sync, settled } = disk();
    const group = grouping(sync);
    for (const number of [1, 2]) void group.run(() => number);
    flights[0]?.land();
    await settled();
    clock.ms += 1;
    let done = false;
    void group.run(() => {
      done = true;
    });
    expect(done).toBe(true);
    expect(flights).toHaveLength(1);
  });

  it("fails alone who throws, in a group and on their own", async () => {
    const { flights, sync } = disk();
    const group = grouping(sync);
    await expect(
      group.run(() => {
        throw new Error("first");
      }),
    ).rejects.toThrow("first");
    for (const number of [1, 2]) void group.run(() => number);
    const bad = group.run(() => {
      throw new Error("bad");
    });
    const good = group.run(() => "good");
    flights.at(-1)?.land();
    await expect(bad).rejects.toThrow("bad");
    expect(await good).toBe("good");
  });

  it("rejects those who wait when the commit fails, without doing their work", async () => {
    const { flights, sync } = disk();
    const group = grouping(sync);
    for (const number of [1, 2]) void group.run(() => number);
    let done = false;
    const waiting = group.run(() => {
      done = true;
    });
    flights[0]?.crash(new Error("disk full"));
    await expect(waiting).rejects.toThrow("disk full");
    expect(done).toBe(false);
  });
});
