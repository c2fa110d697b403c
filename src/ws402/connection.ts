/** One connection of ws402: waits for a proof, lets in, meters, tells, ends. What must outlive it is written to its `WS402Sessions`. */
import { visitOf } from "../context.js";
import type { Rate } from "../meter/rates.js";
import { MeteredSocket, type SocketMeter, type SocketReport } from "../meter/socket.js";
import { sideOf, take } from "../meter/socket-pair.js";
import { passedOn, type SocketEnd } from "../meter/socket-rules.js";
import { meterOfHeaders } from "../meter/terms.js";
import { portsOf } from "../metered-socket.js";
import { begin } from "../metering.js";
import { type Micros, ZERO } from "../money.js";
import { digest } from "../secrets.js";
import { Visit } from "../visit.js";
import type { EnvelopeExecutionContext } from "../with-envelope.js";
import type { ResolvedConfig, ResolvedResource, WS402Config, WS402Session } from "./config.js";
import type { Emitter } from "./events.js";
import { type RejectionCode, readClientMessage, type ServerMessage, type UsageUpdate } from "./protocol.js";
import { PrepaidMeter } from "./purse.js";
import type { Progress, StoredSession } from "./session-rules.js";
import type { BeginInput, BeginOutcome, SessionsApi } from "./sessions.js";
import { refundOf, sessionOf } from "./shapes.js";
import { newHttpToken, newSessionId, sessionsOf } from "./stub.js";

/** What the app puts behind ws402. */
export interface App {
  /** Opens the app's own socket for a session that is paid for: a 101 of its own, or of an object of its own. */
  readonly socket: (session: WS402Session, request: Request) => Response | Promise<Response>;
  /** Answers for a resource of the HTTP mode, of which a token is presented that counts. */
  readonly resource?:
    | ((
        of: { readonly resourceId: string; readonly sessionId: string },
        request: Request,
      ) => Response | Promise<Response>)
    | undefined;
}

export interface ConnectionInput {
  readonly request: Request;
  readonly url: URL;
  readonly env: unknown;
  readonly ctx: EnvelopeExecutionContext;
  readonly resourceId: string;
  readonly resource: ResolvedResource;
  readonly app: App;
  readonly config: WS402Config;
  readonly resolved: ResolvedConfig;
  readonly fromEnvelope: boolean;
  readonly emitter: Emitter;
}

/** How long a proof is waited for. */
const PROOF_MS_MAX = 30_000;
/** A session that was not heard of for so long has ended, and its tokens with it. */
const LEASE_MS = 45_000;
const BEAT_MS = 15_000;

const FOREIGN: Rejected = { code: "unauthorized", reason: "A page of another origin has to send a token in its proof" };
const REJECTED = { code: 1008, reason: "Payment verification failed" } as const;
const FAILED = { code: 1011, reason: "Internal server error" } as const;
/** As ws402 has them: exhaustion is a normal end. */
const CLOSES = {
  balance_exhausted: { code: 1000, reason: "Balance exhausted" },
  price_max_reached: { code: 1000, reason: "Balance exhausted" },
  max_duration_reached: { code: 1000, reason: "Max duration reached" },
} as const;
const MESSAGES = {
  balance_exhausted: "Prepaid balance has been fully consumed",
  max_duration_reached: "Maximum session duration reached",
} as const;

export function openConnection(input: ConnectionInput): Response {
  const { 0: client, 1: server } = new WebSocketPair();
  take(server);
  new Connection(input, server).listen();
  return new Response(null, { status: 101, webSocket: client });
}

/** Where a session's money is, and what of it. */
interface Purse {
  readonly meter: SocketMeter;
  readonly from: BeginInput["from"];
}

type Rejected = { readonly code: RejectionCode; readonly reason: string };

class Connection {
  readonly #in: ConnectionInput;
  readonly #server: WebSocket;
  readonly #session_id = newSessionId();
  readonly #sessions: SessionsApi;
  #socket: MeteredSocket | undefined;
  #meter: SocketMeter | undefined;
  /** The client's close, should it come before there is a session. */
  #closed: { readonly code: number; readonly reason: string } | undefined;
  #proven = false;
  /** What a provider was shown. */
  #proof: unknown;
  #done = false;
  #seq = 0;
  /** A second payment is being verified. */
  #toppingUp = false;
  #beat: ReturnType<typeof setInterval> | undefined;
  #proofTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(input: ConnectionInput, server: WebSocket) {
    this.#in = input;
    this.#server = server;
    this.#sessions = sessionsOf(input.env, this.#session_id) as SessionsApi;
  }

  listen(): void {
    this.#server.addEventListener("message", ({ data }) => {
      if (this.#socket !== undefined) this.#socket.fromClient(data);
      else if (typeof data === "string") this.#first(data);
    });
    this.#server.addEventListener("close", ({ code, reason }) => {
      clearTimeout(this.#proofTimer);
      this.#closed ??= { code, reason };
      if (this.#socket !== undefined) this.#socket.closed("client", code, reason);
      else attemptClose(this.#server, passedOn(code, reason));
    });
    this.#proofTimer = setTimeout(() => {
      this.#reject({ code: "timeout", reason: "No payment proof within 30 seconds" });
    }, PROOF_MS_MAX);
  }

  /** Of the frames before a session, the first proof is one; all others are ignored. */
  #first(text: string): void {
    if (this.#proven || this.#done) return;
    const message = readClientMessage(text);
    if (message?.type !== "payment_proof") return;
    this.#proven = true;
    clearTimeout(this.#proofTimer);
    this.#in.ctx.waitUntil(this.#prove(message.proof));
  }

  async #prove(proof: unknown): Promise<void> {
    try {
      if (!this.#in.fromEnvelope) this.#proof = proof;
      const purse = this.#in.fromEnvelope ? await this.#envelopePurse(proof) : undefined;
      if (purse !== undefined && "code" in purse) {
        this.#reject(purse);
        return;
      }
      this.#meter = purse?.meter;
      const token = this.#in.resource.http ? newHttpToken(this.#session_id) : undefined;
      const outcome = await this.#begin(purse?.from ?? { proof }, token);
      if (outcome.outcome === "begun") await this.#start(outcome.session, token);
      else {
        await this.#meter?.end();
        this.#reject(
          outcome.outcome === "rejected" ? outcome : { code: "unavailable", reason: "Payment could not be verified" },
        );
      }
    } catch (error) {
      await this.#fail(error);
    }
  }

  #begin(from: BeginInput["from"], token: string | undefined): Promise<BeginOutcome> {
    const { request, resourceId, resource, resolved } = this.#in;
    return this.#sessions.begin({
      session_id: this.#session_id,
      user_id: resolved.userIdExtractor(request),
      resource_id: resourceId,
      currency: resolved.unit.currency,
      price_micros: resource.price_micros,
      token_hash: token === undefined ? null : digest(token),
      lease_ms: LEASE_MS,
      from,
    });
  }

  /** The envelope of whoever the caller proves to be, by what the browser or client sent along, or by a token in the proof. */
  async #envelopePurse(proof: unknown): Promise<Purse | Rejected> {
    const { ctx, resource, resourceId, resolved } = this.#in;
    const { token, amount } = (proof ?? {}) as { readonly token?: unknown; readonly amount?: unknown };
    const visit = typeof token === "string" ? this.#visitWith(token) : visitOf(ctx.envelope);
    const budget = amount === undefined ? visit.options.maxPrice : resolved.unit.parse(amount);
    if (budget === undefined || budget < resource.price_micros) {
      return { code: "invalid_payment", reason: "Invalid amount" };
    }
    const per_second_micros = resource.price_micros as Micros;
    const rate = rateOf(per_second_micros, Math.min(budget, visit.options.maxPrice) as Micros);
    if (resource.price_micros === 0) {
      const envelope_id = (await visit.resolve().catch(() => undefined))?.envelopeId ?? "";
      return { meter: new PrepaidMeter(0), from: { envelope_id, budget_micros: 0 } };
    }
    // Also where the app vouches for the caller: it is the browser that brought what it goes by.
    if (visit.isForeignUpgrade) return FOREIGN;
    const metadata = JSON.stringify({ ws402: this.#session_id });
    const terms = { ...meterOfHeaders(rate), reason: `ws402 ${resourceId}`.slice(0, 256), metadata };
    const begun = await begin(visit, terms, {}, visit.options.sockets.open_max);
    if (!("meter" in begun)) return rejectionOf(begun.refuse);
    const budget_micros = Math.min(rate.max_micros, begun.meter.taken_micros + begun.meter.left_micros);
    return { meter: begun.meter, from: { envelope_id: visit.known.envelopeId, budget_micros } };
  }

  #visitWith(token: string): Visit<unknown> {
    const { request, env, ctx } = this.#in;
    const headers = new Headers(request.headers);
    headers.delete("Cookie");
    headers.set("Authorization", `Bearer ${token.replace(/[^!-~]/g, "")}`);
    return new Visit(new Request(request.url, { headers }), env, visitOf(ctx.envelope).options);
  }

  async #start(stored: StoredSession, token: string | undefined): Promise<void> {
    const { app, request, config, emitter, resolved } = this.#in;
    const session = sessionOf(stored, resolved.unit, this.#proof);
    if (token !== undefined) this.#grant(token);
    await config.onPaymentVerified?.(session);
    const price = resolved.unit.parse(session.pricePerSecond);
    if (price === undefined) throw new TypeError("session.pricePerSecond is no price");
    emitter.emit("payment_verified", session);
    // The app is not asked for a client that is gone.
    const response = this.#closed === undefined ? await app.socket(session, request) : undefined;
    if (response === undefined || this.#closed !== undefined) {
      response?.webSocket?.accept();
      response?.webSocket?.close(1001, "The client is gone");
      await this.#finish("client_gone", NO_PROGRESS);
      return;
    }
    if (response.webSocket == null) throw new Error(`The app answered ${response.status} instead of a WebSocket`);
    this.#meterSocket(response.webSocket, { ...stored, price_micros: price });
  }

  #meterSocket(app: WebSocket, session: StoredSession): void {
    const { ctx, resolved } = this.#in;
    const { price_micros, paid_micros } = session;
    this.#meter ??= new PrepaidMeter(paid_micros);
    take(app);
    const socket = new MeteredSocket({
      client: sideOf(this.#server),
      app: sideOf(app),
      rate: rateOf(price_micros as Micros, MAX),
      meter: this.#meter,
      limits: {
        message_bytes_max: resolved.message_bytes_max,
        idle_ms: resolved.idle_ms,
        duration_ms: resolved.maxSession_ms,
        pause_ms: resolved.pause_ms,
        update_ms: resolved.updateInterval_ms,
        low_micros: price_micros * resolved.low_seconds,
      },
      hooks: this.#hooks(),
      ports: portsOf(ctx),
      closes: CLOSES,
    });
    this.#socket = socket;
    this.#say({
      type: "session_started",
      sessionId: this.#session_id,
      balance: resolved.unit.toNumber(paid_micros),
      pricePerSecond: resolved.unit.toNumber(price_micros),
      currency: resolved.unit.currency,
      resourceId: session.resource_id,
      expiresAt: new Date(Date.now() + resolved.maxSession_ms).toISOString(),
    });
    app.addEventListener("message", ({ data }) => socket.fromApp(data));
    app.addEventListener("close", ({ code, reason }) => socket.closed("app", code, reason));
    this.#beat = setInterval(() => ctx.waitUntil(this.#beatOnce(socket, price_micros)), BEAT_MS);
    socket.start();
  }

  #hooks() {
    const link = {
      paymentLink: this.#in.fromEnvelope ? (visitOf(this.#in.ctx.envelope).paymentLink() ?? undefined) : undefined,
    };
    return {
      usage: (report: SocketReport) => this.#say({ type: "usage_update", ...this.#usage(report) }),
      low: (report: SocketReport) => this.#say({ type: "low_balance", ...this.#usage(report), ...link }),
      paused: (report: SocketReport) => this.#say({ type: "session_paused", ...this.#usage(report), ...link }),
      resumed: (report: SocketReport) => this.#say({ type: "session_resumed", ...this.#usage(report) }),
      ended: (end: SocketEnd, report: SocketReport) => this.#ended(end, report),
      isControl: (text: string) => this.#control(text),
    };
  }

  /** Frames of ws402's own, once there is a session. */
  #control(text: string): boolean {
    const message = readClientMessage(text);
    if (message === undefined) return false;
    if (message.type === "top_up") this.#in.ctx.waitUntil(this.#topUp(message.proof));
    if (message.type === "resume") this.#socket?.retry();
    return true;
  }

  async #topUp(proof: unknown): Promise<void> {
    if (this.#in.fromEnvelope) {
      this.#socket?.retry();
      return;
    }
    // One at a time: a frame costs its sender nothing, and the provider a question.
    if (this.#toppingUp) {
      this.#say({ type: "payment_rejected", reason: "Another payment is being verified", code: "unavailable" });
      return;
    }
    this.#toppingUp = true;
    const outcome = await this.#sessions.topUp({ session_id: this.#session_id, proof }).catch(() => undefined);
    this.#toppingUp = false;
    if (outcome?.outcome === "paid" && this.#meter instanceof PrepaidMeter) {
      this.#meter.raiseTo(outcome.paid_micros);
      this.#socket?.retry();
    } else if (outcome?.outcome === "rejected") {
      this.#say({ type: "payment_rejected", reason: outcome.reason, code: outcome.code });
    }
  }

  async #beatOnce(socket: MeteredSocket, price_micros: number): Promise<void> {
    const progress = progressOf(socket.report());
    const goesOn = await this.#sessions
      .beat({ session_id: this.#session_id, progress, lease_ms: LEASE_MS, price_micros })
      .catch(() => true);
    // It was thought to be gone, and what was left is given back already.
    if (!goesOn) socket.end("ended", { code: 1008, reason: "Session expired" });
  }

  #ended(end: SocketEnd, report: SocketReport): void {
    const { unit, paths } = this.#in.resolved;
    const reason = end === "price_max_reached" ? "balance_exhausted" : end;
    if (reason === "balance_exhausted" || reason === "max_duration_reached") {
      this.#say({ type: reason, message: MESSAGES[reason] });
    }
    if (end !== "client_closed" && end !== "client_gone") {
      const unused = report.left_micros;
      this.#say({
        type: "session_ended",
        sessionId: this.#session_id,
        reason,
        consumedAmount: unit.toNumber(report.used_micros),
        refundAmount: unit.toNumber(unused),
        refundStatus: unused === 0 ? "none" : this.#in.fromEnvelope ? "released" : "pending",
        receiptUrl: `${paths.session}/${this.#session_id}`,
      });
    }
    this.#in.ctx.waitUntil(this.#finish(reason, progressOf(report)));
  }

  /** Once. What was used is settled, what was not is given back, and those who listen are told. */
  async #finish(reason: string, progress: Progress): Promise<void> {
    if (this.#done) return;
    this.#done = true;
    clearInterval(this.#beat);
    const { emitter, config, resolved, fromEnvelope } = this.#in;
    await this.#meter?.end();
    const end = { session_id: this.#session_id, progress, reason };
    const receipt = await this.#sessions.end(end).catch(() => this.#sessions.end(end).catch(() => null));
    if (receipt === null) return;
    const session = sessionOf(receipt.session, resolved.unit, this.#proof);
    if (fromEnvelope && receipt.refund_micros > 0) {
      const refund = refundOf(session, resolved.unit.toNumber(receipt.refund_micros));
      emitter.emit("refund", { session, refund });
      await emitter.call(() => config.onRefundIssued?.(session, refund));
    }
    emitter.emit("session_end", session);
    await emitter.call(() => config.onSessionEnd?.(session));
  }

  /** Our fault, or the app's: whoever paid gets all of it back. */
  async #fail(error: unknown): Promise<void> {
    this.#in.emitter.emit("error", error);
    attemptClose(this.#server, FAILED);
    await this.#finish("internal_error", NO_PROGRESS).catch(() => undefined);
  }

  #reject({ code, reason }: Rejected): void {
    if (this.#done) return;
    this.#done = true;
    clearTimeout(this.#proofTimer);
    this.#say({ type: "payment_rejected", reason, code });
    attemptClose(this.#server, REJECTED);
  }

  #grant(httpToken: string): void {
    const { resourceId, resource, resolved, url } = this.#in;
    const at = new URL(`${resolved.paths.resource}/${encodeURIComponent(resourceId)}`, url);
    at.search = "";
    at.searchParams.set("token", httpToken);
    at.protocol = at.protocol.replace("ws", "http");
    const pricePerSecond = resolved.unit.toNumber(resource.price_micros);
    this.#say({
      type: "http_access_granted",
      sessionId: this.#session_id,
      httpToken,
      resourceUrl: at.href,
      resourceInfo: { ...resource.info, pricePerSecond },
    });
  }

  #usage({ usage, used_micros, left_micros }: SocketReport): UsageUpdate {
    const { unit } = this.#in.resolved;
    this.#seq += 1;
    return {
      sessionId: this.#session_id,
      elapsedSeconds: Math.floor(usage.open_ms / 1000),
      consumedAmount: unit.toNumber(used_micros),
      remainingBalance: unit.toNumber(left_micros),
      bytesTransferred: usage.bytes,
      messageCount: usage.messages,
      seq: this.#seq,
      timestamp: Date.now(),
    };
  }

  #say(message: ServerMessage): void {
    try {
      this.#server.send(JSON.stringify(message));
    } catch {
      // It is closed: what it would have been told is in the receipt.
    }
  }
}

const NO_PROGRESS: Progress = { consumed_micros: 0, open_ms: 0, bytes: 0, messages: 0 };
const MAX = Number.MAX_SAFE_INTEGER as Micros;

function rateOf(per_second_micros: Micros, max_micros: Micros): Rate {
  return { base_micros: ZERO, per_second_micros, per_kilobyte_micros: ZERO, per_message_micros: ZERO, max_micros };
}

function progressOf({ usage, used_micros }: SocketReport): Progress {
  return { consumed_micros: used_micros, open_ms: usage.open_ms, bytes: usage.bytes, messages: usage.messages };
}

/** What an HTTP caller would have been answered, in ws402's words. */
async function rejectionOf(answer: Response | undefined): Promise<Rejected> {
  const { detail } = answer === undefined ? {} : await answer.json<{ readonly detail?: string }>();
  const reason = detail ?? "Balance unavailable";
  switch (answer?.status) {
    case 402:
      return { code: "insufficient_balance", reason };
    case 401:
    case 403:
      return { code: "unauthorized", reason };
    case 429:
      return { code: "too_many_sessions", reason };
    default:
      return { code: "unavailable", reason };
  }
}

function attemptClose(socket: WebSocket, close: { readonly code: number; readonly reason: string } | undefined): void {
  try {
    if (close === undefined) socket.close();
    else socket.close(close.code, close.reason);
  } catch {}
}
