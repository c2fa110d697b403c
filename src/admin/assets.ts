/** The panel's browser code, as it is served. Generated: not to be edited. */
export const PANEL_JS: string = "document.getElementById('app').textContent = 'The panel is not built yet.';\n";
export const PANEL_CSS: string = "";
