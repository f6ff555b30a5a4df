using System.CommandLine;
using Nola.Cli;

ParseResult parsed = CommandLine.Parse(args);
if (parsed.Errors.Count > 0) return Usage.Explain(parsed);

// Ctrl-C ends a run after its step and the writing of its checkpoint, however long they take; the default is two seconds.
return parsed.Invoke(new InvocationConfiguration { ProcessTerminationTimeout = TimeSpan.FromHours(1) });
