/** The metered socket by itself: a clock, a purse and two sides of the test's own. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytesOf, costOf, NOTHING_USED, passedOn } from "../../../src/meter/socket-rules.js";
import { open, Purse, rate } from "./fakes.js";

describe("what a socket costs", () => {
  test.each([
    [{ per_second_micros: 1000 }, { open_ms: 0 }, 1000],
    [{ per_second_micros: 1000 }, { open_ms: 999 }, 1000],
    [{ per_second_micros: 1000 }, { open_ms: 1000 }, 2000],
    [{ per_message_micros: 7 }, { messages: 3 }, 21],
    [{ per_kilobyte_micros: 10 }, { bytes: 0 }, 0],
    [{ per_kilobyte_micros: 10 }, { bytes: 1 }, 10],
    [{ per_kilobyte_micros: 10 }, { bytes: 2_001 }, 30],
    [
      { base_micros: 3, per_second_micros: 10, per_message_micros: 5, per_kilobyte_micros: 10 },
      { open_ms: 1500, messages: 2, bytes: 1000 },
      43,
    ],
  ])("%j for %j is %i micros", (rates, usage, expected) => {
    expect(costOf(rate(rates), { ...NOTHING_USED, ...usage })).toBe(expected);
  });

  test("T89 what no safe integer says is more than anybody has", () => {
    const usage = { ...NOTHING_USED, messages: 2 };
    expect(costOf(rate({ per_message_micros: Number.MAX_SAFE_INTEGER }), usage)).toBe(Number.POSITIVE_INFINITY);
  });

  test("a text is as long as its UTF-8", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(bytesOf(text)).toBe(new TextEncoder().encode(text).byteLength);
      }),
    );
  });

  test("a close is passed on where it may be said", () => {
    expect(passedOn(1000, "bye")).toEqual({ code: 1000, reason: "bye" });
    expect(passedOn(4999, "")).toEqual({ code: 4999, reason: "" });
    expect(passedOn(1005, "")).toBeUndefined();
    expect(passedOn(1006, "")).toBeUndefined();
    for (const code of [1004, 1015, 999, 5000]) expect(passedOn(code, "x")?.code).toBe(1011);
  });
});

describe("T103 exactly as much as there is money for", () => {
  test.each([1, 5, 100])("%i messages, not one more", async (count) => {
    const { socket, client, app, clock, purse, ends } = open({ per_message_micros: 10 }, new Purse(count * 10));
    for (let sent = 0; sent < count + 3; sent++) {
      if (sent % 2 === 0) socket.fromApp(`${sent}`);
      else socket.fromClient(`${sent}`);
      await clock.pass(1);
    }
    expect(client.sent.length + app.sent.length).toBe(count);
    expect(ends).toEqual(["balance_exhausted"]);
    expect(client.closes).toEqual([{ code: 4402, reason: "Balance exhausted" }]);
    expect(app.closes).toEqual([{ code: 4402, reason: "Balance exhausted" }]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, count * 10]);
    expect(purse.left_micros).toBe(0);
  });

  test("a burst, before any answer about money came", async () => {
    const { socket, client, clock, purse } = open({ per_message_micros: 10 }, new Purse(70));
    for (let sent = 0; sent < 20; sent++) socket.fromApp(`${sent}`);
    await clock.pass(1);
    expect(client.sent).toEqual(["0", "1", "2", "3", "4", "5", "6"]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 70]);
  });

  test("what is too little for a message is given back", async () => {
    const { socket, client, clock, purse } = open({ per_message_micros: 10 }, new Purse(25));
    for (let sent = 0; sent < 3; sent++) socket.fromApp("x");
    await clock.pass(1);
    expect(client.sent).toHaveLength(2);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 20]);
    expect(purse.left_micros).toBe(5);
  });

  test("bytes both ways", async () => {
    const { socket, client, app, clock, purse } = open({ per_kilobyte_micros: 500 }, new Purse(1000));
    socket.fromApp("x".repeat(1400));
    socket.fromClient("y".repeat(600));
    await clock.pass(1);
    socket.fromApp("z");
    await clock.pass(1);
    expect([client.sent.length, app.sent.length]).toEqual([1, 1]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 1000]);
  });

  test("time, to the millisecond", async () => {
    const { clock, ends, purse } = open({ per_second_micros: 1000 }, new Purse(3000));
    await clock.pass(2999);
    expect(ends).toEqual([]);
    await clock.pass(1);
    expect(ends).toEqual(["balance_exhausted"]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 3000]);
  });

  test("the maximum of the price ends it although there is more", async () => {
    const { socket, client, clock, ends, purse } = open({ per_message_micros: 10 }, new Purse(1000, 35));
    purse.says = "max";
    for (let sent = 0; sent < 5; sent++) socket.fromApp("x");
    await clock.pass(1);
    expect(client.sent).toHaveLength(3);
    expect(ends).toEqual(["price_max_reached"]);
    expect(client.closes).toEqual([{ code: 4402, reason: "Price maximum reached" }]);
    expect(purse.delivered_micros).toBe(30);
  });

  test("in any traffic nothing is delivered that is not covered, and all that was covered is taken or given back", async () => {
    const step = fc.oneof(
      fc.record({ from: fc.constantFrom("client", "app"), bytes: fc.nat(300) }),
      fc.record({ pass: fc.nat(2000) }),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.record({ per_second_micros: fc.nat(20), per_message_micros: fc.nat(20), per_kilobyte_micros: fc.nat(200) }),
        fc.nat(5_000),
        fc.array(step, { maxLength: 40 }),
        async (rates, money, steps) => {
          const first = costOf(rate(rates), NOTHING_USED);
          fc.pre(money >= first);
          const { socket, client, app, clock, purse } = open(rates, new Purse(money, first));
          const begin = clock.now_ms;
          for (const one of steps) {
            if ("pass" in one) await clock.pass(one.pass);
            else if (one.from === "client") socket.fromClient("x".repeat(one.bytes));
            else socket.fromApp("x".repeat(one.bytes));
          }
          await clock.pass(0);
          socket.closed("client", 1000, "");
          await clock.pass(0);
          const frames = [...client.sent, ...app.sent].map((data) => bytesOf(data));
          const least = { open_ms: 0, messages: frames.length, bytes: frames.reduce((sum, one) => sum + one, 0) };
          const used = purse.delivered_micros;
          expect(purse.ends).toBe(1);
          expect(used).toBeGreaterThanOrEqual(costOf(rate(rates), least));
          expect(used).toBeLessThanOrEqual(
            Math.min(money, costOf(rate(rates), { ...least, open_ms: clock.now_ms - begin })),
          );
          // What was asked for and not delivered any more is given back.
          expect(purse.left_micros).toBeLessThanOrEqual(money - used);
        },
      ),
    );
  });
});

describe("without money", () => {
  test("it may wait for some: nothing is delivered and no time is charged meanwhile", async () => {
    const { socket, client, clock, purse, told } = open(
      { per_second_micros: 1000, per_message_micros: 10 },
      new Purse(1000),
      {
        pause_ms: 60_000,
      },
    );
    await clock.pass(1000);
    socket.fromApp("waits");
    await clock.pass(20_000);
    expect(client.sent).toEqual([]);
    expect(client.closes).toEqual([]);
    purse.free_micros = 1010;
    await clock.pass(5_000);
    expect(client.sent).toEqual(["waits"]);
    expect(told.map(([name]) => name).filter((name) => name !== "low")).toEqual(["paused", "resumed", "paused"]);
    socket.closed("client", 1000, "");
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 2010]);
  });

  test("nothing comes: it is closed when it has waited long enough", async () => {
    const { client, clock, ends } = open({ per_second_micros: 1000 }, new Purse(1000), { pause_ms: 10_000 });
    await clock.pass(10_999);
    expect(ends).toEqual([]);
    await clock.pass(1);
    expect(ends).toEqual(["balance_exhausted"]);
    expect(client.closes).toEqual([{ code: 4402, reason: "Balance exhausted" }]);
  });

  test("who asks is looked at again at once", async () => {
    const { socket, clock, purse, told } = open({ per_second_micros: 1000 }, new Purse(1000), { pause_ms: 60_000 });
    await clock.pass(20_000);
    purse.free_micros = 5000;
    socket.retry();
    await clock.pass(0);
    expect(told.map(([name]) => name)).toContain("resumed");
  });

  test("T102 what waits for money is bounded", async () => {
    const { socket, client, clock, ends } = open({ per_message_micros: 10 }, new Purse(0), { pause_ms: 60_000 });
    await clock.pass(1);
    for (let sent = 0; sent < 1_001; sent++) socket.fromApp("x");
    expect(ends).toEqual(["overflow"]);
    expect(client.closes).toEqual([{ code: 1008, reason: "Too much waits for payment" }]);
  });

  test("a warning comes before the end, once", async () => {
    const { clock, told } = open({ per_second_micros: 1000 }, new Purse(10_000), { low_micros: 3_000 });
    await clock.pass(10_000);
    const low = told.filter(([name]) => name === "low");
    expect(low).toHaveLength(1);
    expect(low[0]?.[2]).toBeGreaterThan(0);
    expect(low[0]?.[2]).toBeLessThan(3_000);
  });

  test.each([
    ["credential_revoked", 4401],
    ["frozen", 4403],
  ] as const)("T58 %s ends it", async (reason, code) => {
    const { socket, client, clock, purse } = open({ per_message_micros: 10 }, new Purse(1000, 10));
    purse.says = { reason };
    socket.fromApp("covered");
    socket.fromApp("not covered");
    await clock.pass(1);
    expect(client.sent).toEqual(["covered"]);
    expect(client.closes[0]?.code).toBe(code);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 10]);
  });

  test("T21 an envelope that cannot be reached: what is covered is delivered, then it ends", async () => {
    const { socket, client, clock, purse, ends } = open({ per_message_micros: 10 }, new Purse(1000, 20));
    purse.says = "unreachable";
    socket.fromApp("one");
    socket.fromApp("two");
    await clock.pass(1);
    expect(client.sent).toEqual(["one", "two"]);
    expect(ends).toEqual([]);
    socket.fromApp("three");
    await clock.pass(1);
    expect(ends).toEqual(["unavailable"]);
    expect(client.closes[0]?.code).toBe(1013);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 20]);
  });
});

describe("ends", () => {
  test("T101 once, whoever closes and how often", async () => {
    const { socket, client, app, purse, ends } = open({ per_message_micros: 10 }, new Purse(1000, 100));
    socket.fromClient("x");
    socket.closed("client", 4005, "bye");
    socket.closed("app", 4005, "bye");
    socket.closed("client", 1006, "");
    socket.end("ended");
    expect(ends).toEqual(["client_closed"]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 10]);
    expect(app.closes).toEqual([{ code: 4005, reason: "bye" }]);
    expect(client.closes).toEqual([{ code: 4005, reason: "bye" }]);
  });

  test("frames before a close are delivered before it", async () => {
    const { socket, app, clock } = open({ per_message_micros: 10 }, new Purse(1000));
    socket.fromClient("one");
    socket.fromClient("two");
    socket.closed("client", 1000, "done");
    expect(app.closes).toEqual([]);
    await clock.pass(1);
    expect(app.sent).toEqual(["one", "two"]);
    expect(app.closes).toEqual([{ code: 1000, reason: "done" }]);
  });

  test("T98 a client that is gone without a close", async () => {
    const { socket, app, ends, purse, clock } = open({ per_second_micros: 1000 }, new Purse(100_000, 10_000));
    await clock.pass(2_500);
    socket.closed("client", 1006, "");
    expect(ends).toEqual(["client_gone"]);
    expect(app.closes).toEqual([{ code: 1001, reason: "The client is gone" }]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 3_000]);
  });

  test("T83 an app's socket that is lost: the client may come again", async () => {
    const { socket, client } = open({ per_second_micros: 1000 }, new Purse(100_000, 10_000));
    socket.closed("app", 1006, "");
    expect(client.closes[0]?.code).toBe(1012);
  });

  test("T98 silence", async () => {
    const { socket, clock, ends } = open({ per_message_micros: 10 }, new Purse(1000), { idle_ms: 10_000 });
    await clock.pass(9_000);
    socket.fromApp("still here");
    await clock.pass(9_000);
    expect(ends).toEqual([]);
    await clock.pass(1_000);
    expect(ends).toEqual(["idle"]);
  });

  test("T102 a message that is too long", async () => {
    const { socket, app, client, ends } = open({ per_message_micros: 10 }, new Purse(1000), { message_bytes_max: 5 });
    socket.fromClient("12345");
    socket.fromClient(new ArrayBuffer(6));
    await Promise.resolve();
    expect(ends).toEqual(["message_too_large"]);
    expect(client.closes).toEqual([{ code: 1009, reason: "Message too large" }]);
    expect(app.sent.length).toBeLessThanOrEqual(1);
  });

  test("after the longest it may last", async () => {
    const { clock, ends, purse } = open({ per_second_micros: 1000 }, new Purse(100_000), { duration_ms: 7_000 });
    await clock.pass(7_000);
    expect(ends).toEqual(["max_duration_reached"]);
    expect([purse.ends, purse.delivered_micros]).toEqual([1, 7_000]);
  });

  test("T87 a clock that is set back neither charges nor gives back", async () => {
    const { socket, clock, purse } = open({ per_second_micros: 1000 }, new Purse(100_000));
    await clock.pass(1_000);
    clock.now_ms -= 5_000;
    socket.fromApp("x");
    socket.closed("client", 1000, "");
    expect(purse.delivered_micros).toBe(2_000);
  });
});

test("as long as money is reserved, nothing waits and nothing is overtaken", async () => {
  const { socket, client, clock, purse } = open({ per_message_micros: 1 }, new Purse(1_000));
  for (let sent = 0; sent < 1_000; sent++) {
    socket.fromApp(`${sent}`);
    if (sent % 7 === 0) await clock.pass(1);
  }
  await clock.pass(1);
  expect(client.sent).toEqual(Array.from({ length: 1_000 }, (_, at) => `${at}`));
  expect(purse.asked).toBe(50);
});
