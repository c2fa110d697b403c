/** Public names. Nothing else is API. */
export { EnvelopeAggregate } from "./aggregate/aggregate.js";
export type { AlertOptions } from "./alert-options.js";
export type { AlertListener, EnvelopeAlert } from "./alerting.js";
export type { Assignment, AssignmentResult } from "./assigning.js";
export { EnvelopeUnreachableError } from "./attempt.js";
export { verifyAudit } from "./audit.js";
export type { AutoTopUpOptions } from "./auto-topup-options.js";
export type { ChargeOptions, ChargeResult, EnvelopeContext, StateResult } from "./context.js";
export type {
  Alert,
  ArchivePage,
  AuditLine,
  Author,
  AutoTopUpState,
  AutoTopUpStop,
  Balances,
  ChargeOutcome,
  ConfigureOutcome,
  ConflictDetail,
  Entry,
  EntryKind,
  EnvelopeSettings,
  EnvelopeState,
  GrantOutcome,
  HoldView,
  LimitedSessionView,
  LotTerms,
  LotView,
  Overview,
  RefundOutcome,
  Refusal,
  RefusalReason,
  RevokeOutcome,
  TopUp,
  TopUpFailure,
  TopUpStatus,
  UnclaimedPayment,
  WindowAlignment,
  WindowRule,
  WindowUnit,
  WindowView,
} from "./contract.js";
export { EnvelopeDirectory } from "./directory/directory.js";
export { Envelope } from "./envelope/envelope.js";
export {
  type EnvelopeAddress,
  type EnvelopeConfiguration,
  type EnvelopeHandle,
  type EnvelopeOfOptions,
  envelopeOf,
} from "./envelope-of.js";
export type {
  EnvelopeHold,
  ExtendOptions,
  ExtendResult,
  HoldOptions,
  HoldResult,
  ReleaseResult,
  SettleOptions,
  SettleResult,
} from "./held.js";
export type { EndCause, Units } from "./meter/deliver.js";
export type { MeteredPart } from "./meter/pricers.js";
export type { SocketEnd } from "./meter/socket-rules.js";
export type { MeteredStream, MeteredTokens, MeterRate, MeterResult, SliceOptions } from "./meter/terms.js";
export type { TokenPrices, Tokens } from "./meter/tokens.js";
export type { Micros, Price } from "./money.js";
export { chargeWhenDelivered, type EnvelopeOptions, type Incident } from "./options.js";
export type { SignUpGrantOptions } from "./sign-up-options.js";
export type { SocketOptions, SocketsOptions } from "./socket-options.js";
export type { RefundOptions, RefundResult } from "./spending.js";
export { assignPayment, unclaimedPayments } from "./unclaimed.js";

export type { Paths } from "./wire.js";
export {
  type EnvelopeExecutionContext,
  type EnvelopeFetchHandler,
  type EnvelopeHandler,
  withEnvelope,
} from "./with-envelope.js";
