"""`simplerl view`: serve the page over the runs and results in a directory."""

import argparse
import sys
import webbrowser

from simplerl.markup.text import visible
from simplerl.viewer.library import Library
from simplerl.viewer.page import HOST, open_server, serve


def run(args: argparse.Namespace) -> None:
    """Serve the page until Ctrl-C."""
    library = Library(args.directory)
    catalog = library.catalog()
    for notice in catalog.notices:
        print(f"warning: {visible(notice[:300])}", file=sys.stderr)
    server = open_server(library, args.port)
    port = server.server_address[1]
    if port != args.port:
        print(f"port {args.port} is in use; using {port}", file=sys.stderr)
    runs = sum(entry.run is not None for entry in catalog.entries.values())
    print(f"runs: {runs}, results of models: {len(catalog.entries) - runs}, in {visible(str(library.root))}")
    address = f"http://{HOST}:{port}"
    print(f"{address}  (Ctrl-C ends it)", flush=True)
    if not args.no_browser:
        webbrowser.open(address)
    serve(server)
