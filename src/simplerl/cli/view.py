"""Read what a model does: a page over the runs and results in a directory.

Metrics of several runs, a table of problems with filters (gained or lost between two checkpoints, right, wrong, length,
text), and one problem with all its responses side by side. Works while a run trains. The page is for this machine alone
and only reads; the address in the browser leads back to exactly what is shown. Needs Gradio: pip install
'simplerl[view]'.

For runs on another machine: `ssh -L 7860:127.0.0.1:7860 HOST simplerl view runs --no-browser`, and open
http://127.0.0.1:7860 here.
"""

import argparse
from pathlib import Path

EXAMPLES = """\
  simplerl view runs
  simplerl view runs/mine --port 8000 --no-browser
  simplerl view evaluations
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a run, or a directory with runs and results in it")
    parser.add_argument(
        "--port", type=int, default=7860, help="where it is served; the next free one if it is in use (%(default)s)"
    )
    parser.add_argument("--no-browser", action="store_true", help="only print the address")


def run(args: argparse.Namespace) -> int:
    """Serve the page until Ctrl-C."""
    import sys
    import threading
    import webbrowser

    from simplerl.core.errors import SimpleRLError
    from simplerl.markup.text import visible
    from simplerl.viewer.html import warm
    from simplerl.viewer.library import Library
    from simplerl.viewer.server import application, free_socket, serve

    if not 1 <= args.port <= 65_535:
        raise SimpleRLError(f"--port {args.port} is not a port; choose one from 1024 to 65535")
    library = Library(args.directory)
    found = library.catalog()
    for notice in found.notices:
        print(f"warning: {visible(notice[:300])}", file=sys.stderr)
    page = application(library)
    listening = free_socket(args.port)
    port = listening.getsockname()[1]
    if port != args.port:
        print(f"port {args.port} is in use; using {port}", file=sys.stderr)
    runs = sum(entry.run is not None for entry in found.entries.values())
    print(f"runs: {runs}, results of models: {len(found.entries) - runs}, in {visible(str(library.root))}")
    address = f"http://127.0.0.1:{port}"
    print(f"{address}  (Ctrl-C ends it)", flush=True)
    if not args.no_browser:
        webbrowser.open(address)
    # What the first visitor asks for is read while the browser starts.
    threading.Thread(target=warm, args=(library,), daemon=True).start()
    serve(page, listening)
    return 0
