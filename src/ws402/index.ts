/** `with-envelope/ws402`: sessions that are paid by the second over a WebSocket, as ws402 speaks them. */
export type {
  RefundDetails,
  WS402Config,
  WS402Paths,
  WS402Resource,
  WS402Session,
} from "./config.js";
export type { App as WS402App } from "./connection.js";
export type { WS402Events } from "./events.js";
export { isWS402Request, type ServerMessage as WS402Message, type WS402Schema } from "./protocol.js";
export {
  MockPaymentProvider,
  type PaymentProvider,
  type PaymentVerification,
  type RefundRequest,
} from "./provider.js";
export { WS402Sessions } from "./sessions.js";
export { type ProviderOf, WS402 } from "./ws402.js";
