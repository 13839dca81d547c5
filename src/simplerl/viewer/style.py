"""The page's style sheet. Fonts are the system's own; nothing is loaded from elsewhere."""

from simplerl.markup import CSS as MARKUP

CSS = (
    MARKUP
    + """
.gradio-container { max-width: none !important; }
.gradio-container main { padding: 8px 20px 24px !important; }
.gradio-container .column, .gradio-container .row { gap: 6px; }
.gradio-container .block { padding-top: 3px; padding-bottom: 3px; }
.gradio-container input[role="combobox"] { padding-right: 2em; text-overflow: ellipsis; }
footer { display: none !important; }
#here { font-size: 13px; }
#here h1 { font-size: 17px; margin: 0; display: inline; font-weight: 650; }
#here a { margin-left: 12px; }
.page { font-size: 13px; line-height: 1.45; color: var(--body-text-color); }
.page a { color: inherit; text-decoration: none; }
.page a:hover { text-decoration: underline; }
.page a:focus-visible { outline: 2px solid #2563eb; border-radius: 3px; }
.faint, .nothing { color: #6b7280; font-weight: 400; }
.dark .faint, .dark .nothing, .dark .legend, .dark .left-out { color: #9ca3af; }
.nothing { padding: 12px; }
.up { color: #15803d; font-weight: 600; } .down { color: #b91c1c; font-weight: 600; }
.dark .up { color: #4ade80; } .dark .down { color: #f87171; }
.notice { background: #fef3c7; color: #713f12; border-left: 3px solid #d97706; padding: 4px 10px; margin: 2px 0;
  overflow-wrap: anywhere; }
.bar { display: flex; gap: 10px; align-items: center; margin: 4px 0; flex-wrap: wrap; }
.bar .fill { flex: 1; }
.page a.button { border: 1px solid var(--border-color-primary); border-radius: 5px; padding: 1px 9px;
  background: var(--background-fill-primary); }
table.problems { border-collapse: collapse; width: 100%; }
table.problems th { text-align: left; font-weight: 600; border-bottom: 2px solid var(--border-color-primary);
  padding: 3px 8px;
  white-space: nowrap; }
table.problems td { border-bottom: 1px solid var(--border-color-primary); padding: 3px 8px; vertical-align: top; }
table.problems tbody tr:hover { background: var(--background-fill-secondary); }
table.problems td:first-child { font-family: ui-monospace, monospace; font-size: 12px; white-space: nowrap;
  max-width: 260px; overflow: hidden; text-overflow: ellipsis; }
table.problems td:nth-child(2) { width: 45%; overflow-wrap: anywhere; }
table.problems td:nth-child(n+4) { white-space: nowrap; font-variant-numeric: tabular-nums; }
.share { display: inline-block; min-width: 34px; }
i.v { display: inline-block; width: 15px; height: 15px; line-height: 15px; font-size: 10px; font-style: normal;
  color: #fff;
  text-align: center; border-radius: 3px; margin-right: 1px; vertical-align: 1px; }
.v-correct { background: #15803d; } .v-wrong { background: #b91c1c; } .v-no_answer { background: #6b7280; }
.v-timeout, .v-error, .v-unjudgeable, .v-other { background: #b45309; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(220px, 1fr)); gap: 6px 12px; }
.charts figure { margin: 0; } .charts figcaption { font-weight: 600; font-size: 12px; }
.charts svg { width: 100%; height: auto; display: block; }
.charts text { font-size: 9px; fill: #6b7280; } .charts text.y { text-anchor: end; }
.charts text.last { text-anchor: end; }
.charts line.grid { stroke: #9ca3af; stroke-opacity: 0.25; } .charts line.mark { stroke: #6b7280;
  stroke-dasharray: 3 3; }
.charts polyline { fill: none; stroke-width: 1.6; stroke: currentColor; stroke-linejoin: round; }
.charts circle { fill: currentColor; } .charts circle.quiet { opacity: 0; } .charts circle.quiet:hover { opacity: 1; }
.run-legend { display: flex; flex-wrap: wrap; gap: 2px 14px; margin-bottom: 2px; }
.run-legend .run { color: inherit; } .run-legend i { display: inline-block; width: 14px; height: 3px;
  border-radius: 2px;
  margin-right: 5px; vertical-align: 3px; background: currentColor; }
g.s0, .s0 i { color: #2563eb; } g.s1, .s1 i { color: #ea580c; } g.s2, .s2 i { color: #16a34a; }
g.s3, .s3 i { color: #9333ea; }
g.s4, .s4 i { color: #0891b2; } g.s5, .s5 i { color: #db2777; } g.s6, .s6 i { color: #65a30d; }
g.s7, .s7 i { color: #78716c; }
.page h3 { font-size: 13px; margin: 6px 0 0; font-weight: 600; } .warn { color: #b45309; font-weight: 600; }
.page details { margin: 2px 0; overflow-wrap: anywhere; } .page details > div { margin-left: 16px; }
.page summary { cursor: pointer; }
.asked { border-left: 3px solid #2563eb; padding: 2px 12px; margin: 6px 0; }
.asked h2 { font-size: 14px; margin: 0; font-family: ui-monospace, monospace; overflow-wrap: anywhere; }
.asked .question { font-size: 15px; margin: 4px 0; max-height: 40vh; overflow: auto; }
.page code { font-family: ui-monospace, monospace; background: var(--background-fill-secondary); padding: 0 3px;
  border-radius: 3px; }
.gold .text, .why .text { display: inline; }
.grid { display: grid; gap: 8px 12px; } .grid.two { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
.grid.one { grid-template-columns: minmax(0, 1fr); }
.grid h3 { font-size: 13px; margin: 4px 0 0; position: sticky; top: 0; background: var(--body-background-fill);
  z-index: 1;
  overflow-wrap: anywhere; }
.card { border: 1px solid var(--border-color-primary); border-radius: 6px; overflow: hidden; contain: content;
  background: var(--background-fill-primary); }
.card header { padding: 4px 10px; background: var(--background-fill-secondary); font-size: 12px; }
.card .why { overflow-wrap: anywhere; }
.card .response { padding: 6px 10px; max-height: 70vh; overflow: auto; font-size: 14px; }
"""
)
