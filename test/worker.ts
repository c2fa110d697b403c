/** The app under test: a route per behaviour. Query parameters choose the price, the status and what the handler does. */
import { withEnvelope } from "../src/index.js";
import { app } from "./app.js";
import { paid } from "./ws402.js";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "../src/index.js";
export { Room } from "./room.js";
export const WS402Sessions = paid.Sessions;

export default { fetch: withEnvelope(app) } satisfies ExportedHandler;
