"""The style sheet of what this room writes. Colours hold in light and dark pages; nothing is loaded from elsewhere."""

CSS = """
.text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; overflow: hidden; }
.hidden-character { color: #9a3412; background: #ffedd5; border-radius: 2px; padding: 0 1px; font-size: 85%; }
.left-out { color: #6b7280; font-style: italic; }
.formula-source { background: #fef3c7; color: #713f12; border-radius: 2px; }
.formula math { font-size: 108%; }
.formula menclose { border: 1px solid currentColor; border-radius: 2px; padding: 0.1em 0.25em; }
.text del { background: #fee2e2; color: #991b1b; text-decoration: line-through; text-decoration-thickness: 1px; }
.text ins { background: #dcfce7; color: #166534; text-decoration: underline; text-decoration-thickness: 1px; }
.token { color: #111827; border-radius: 2px; box-shadow: inset -1px 0 0 rgba(0, 0, 0, 0.06); }
.c-0 { background: #f8fafc; } .c-none { background: #e5e7eb; }
.c-h1 { background: #fef9c3; } .c-h2 { background: #fde68a; }
.c-h3 { background: #fdba74; } .c-h4 { background: #f87171; }
.c-p1 { background: #dbeafe; } .c-p2 { background: #93c5fd; } .c-p3 { background: #60a5fa; }
.c-n1 { background: #fee2e2; } .c-n2 { background: #fca5a5; } .c-n3 { background: #f87171; }
.legend { font-size: 12px; color: #4b5563; margin: 4px 0; } .legend .token { padding: 1px 5px; }
@media (prefers-color-scheme: dark) { .legend, .left-out { color: #9ca3af; } }
"""
