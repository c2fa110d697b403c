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

describe("group commit", () => {
  it("does at once what arrives while nothing is on its way to disk", () => {
    const { flights, sync } = disk();
    const group = new GroupCommit(sync);
    const done: number[] = [];
    void group.run(() => done.push(1));
    expect(done).toEqual([1]);
    expect(flights).toHaveLength(1);
  });

  it("does together, in their order and in one turn, what arrives while a commit is on its way, however long that takes", async () => {
    const { flights, sync, settled } = disk();
    const group = new GroupCommit(sync);
    const turns: string[] = [];
    void group.run(() => turns.push("first"));
    const rest: Promise<number>[] = [];
    for (const number of [1, 2, 3]) {
      rest.push(group.run(() => turns.push(`rest ${number}`)));
      await settled();
    }
    expect(turns).toEqual(["first"]);
    flights[0]?.land();
    void Promise.resolve()
      .then(() => Promise.resolve())
      .then(() => turns.push("next turn"));
    expect(await Promise.all(rest)).toEqual([2, 3, 4]);
    expect(turns.slice(0, 4)).toEqual(["first", "rest 1", "rest 2", "rest 3"]);
    expect(flights).toHaveLength(2);
  });

  /** Which of so many, one after the other and each alone, have their commit looked after. */
  async function alone(group: GroupCommit, { flights, settled }: ReturnType<typeof disk>, count: number) {
    const watched: number[] = [];
    for (let number = 1; number <= count; number++) {
      const before = flights.length;
      let done = false;
      void group.run(() => {
        done = true;
      });
      expect(done).toBe(true);
      if (flights.length === before) continue;
      watched.push(number);
      flights.at(-1)?.land();
      await settled();
    }
    return watched;
  }

  it("looks after fewer and fewer commits where nobody comes meanwhile: every sixteenth at last", async () => {
    const one = disk();
    const group = new GroupCommit(one.sync);
    expect(await alone(group, one, 60)).toEqual([1, 2, 3, 4, 6, 10, 18, 34, 50]);
  });

  it("notices a crowd by its sixteenth at the latest, and looks after all commits from then on", async () => {
    const one = disk();
    const group = new GroupCommit(one.sync);
    await alone(group, one, 50);
    const before = one.flights.length;
    const done: number[] = [];
    for (let number = 1; number <= 40; number++) void group.run(() => done.push(number));
    expect(done).toHaveLength(16);
    // All that waited, and then a commit that nobody came for: the crowd was answered, and is about to come again.
    for (const flights of [1, 2]) {
      one.flights.at(-1)?.land();
      await one.settled();
      expect(one.flights).toHaveLength(before + 1 + 1);
      expect([flights, done.length]).toEqual([flights, 40]);
    }
    // It takes four of those to be taken for a crowd that is gone.
    expect(await alone(group, one, 6)).toEqual([1, 2, 3, 5]);
  });

  it("fails alone who throws, in a group and on their own", async () => {
    const { flights, sync } = disk();
    const group = new GroupCommit(sync);
    await expect(
      group.run(() => {
        throw new Error("first");
      }),
    ).rejects.toThrow("first");
    void group.run(() => 1);
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
    const group = new GroupCommit(sync);
    void group.run(() => 1);
    let done = false;
    const waiting = group.run(() => {
      done = true;
    });
    flights[0]?.crash(new Error("disk full"));
    await expect(waiting).rejects.toThrow("disk full");
    expect(done).toBe(false);
    // Who comes next does not wait for a commit that is over.
    expect(await group.run(() => "next")).toBe("next");
    expect(flights).toHaveLength(2);
  });

  it("leaves nobody waiting where the commit fails as soon as it is asked for", async () => {
    let asked = 0;
    const group = new GroupCommit(() => {
      asked += 1;
      throw new Error("gone");
    });
    expect(await group.run(() => "first")).toBe("first");
    const done = group.run(() => "next");
    expect(await Promise.race([done, new Promise((resolve) => setTimeout(resolve, 1_000, "waits"))])).toBe("next");
    expect(asked).toBe(2);
  });
});
