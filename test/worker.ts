/** The app under test: a route per behaviour. Query parameters choose the price, the status and what the handler does. */
import { withEnvelope } from "../src/index.js";
import { app } from "./app.js";

export { Envelope, EnvelopeAggregate, EnvelopeDirectory } from "../src/index.js";

export default { fetch: withEnvelope(app) } satisfies ExportedHandler;
