namespace Nola.Fuzz;

/// <summary>Whole files of each form of pairs.</summary>
internal static class DataExamples
{
    public const string E2E = """
        mr,ref
        "name[The Punter], eatType[pub], food[Indian], priceRange[cheap], familyFriendly[yes]","The Punter is a cheap, family-friendly pub."
        "name[Blue Spice], near[Café ""Adriatic""]",Blue Spice is near it.
        "name[Blue Spice], near[Café ""Adriatic""]","Two
        lines."

        """;

    public const string CsvPairs = "prompt,completion,other\nHow many?,\"Two, I think\",1\n\"He said \"\"hm\"\"\",Yes,2\n";

    public const string Semicolons = "context;completion\nHow far, and where to?;Nine miles\n\"a; b\";\"c\"\n";

    public const string Tabs = "prompt\tcompletion\nHow many?\tTwo, I think\nWho?\tMe\n";

    public const string AlpacaLines = """
        {"instruction": "Translate into German.", "input": "Good morning", "output": "Guten Morgen"}
        {"instruction": "Name a river.", "input": "", "output": "The Rhine"}

        """;

    public const string ChatLines = """
        {"messages": [{"role": "user", "content": "How far?"}, {"role": "assistant", "content": "Nine miles."}]}
        {"messages": [{"role": "system", "content": "Brief."}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]}

        """;

    public const string TextLines = "{\"text\": \"A document of its own.\"}\n{\"text\": \"Another one.\"}\n";

    public const string Lines = """
        {"context": "name : The Punter | Type : pub", "completion": "The Punter is a pub."}
        {"prompt": "Größe? 😀", "completion": "Two.\nLines.", "category": "Food", "origin": "webnlg"}
        {"context": "a \"quoted\" one", "completion": "x"}

        """;

    public const string IdLines = """
        {"context": [1, 2, 3], "completion": [4, 5]}
        {"context": "text", "completion": [7, 50256]}
        {"context": [], "completion": [1, 2]}

        """;

    public const string DartJson = """
        [
          {"tripleset": [["Ilse Quill", "ALBUMS_RECORDED", "7"], ["Ilse Quill", "HOME_TOWN", "Fenmoor"]], "subtree_was_extended": false,
           "annotations": [{"source": "WikiSQL_lily", "text": "Ilse Quill of Fenmoor has recorded 7 albums."},
                           {"source": "webnlg", "text": "She recorded seven."}]},
          {"tripleset": [["The Heron", "food", "Fish & chips"]],
           "annotations": [{"source": "e2e", "text": "The Heron serves fish & chips."}]}
        ]
        """;

    public const string WebNlgJson = """
        {"entries": [
          {"1": {"category": "City",
                 "lexicalisations": [{"comment": "good", "lang": "", "lex": "4,200 people live in Fenmoor.", "xml_id": "Id1"},
                                     {"comment": "toFix", "lex": "No.", "xml_id": "Id2"}],
                 "modifiedtripleset": [{"subject": "Fenmoor", "property": "population", "object": "4200"}], "size": "1", "xml_id": "Id1"}},
          {"2": {"category": "Artist",
                 "lexicalisations": [{"comment": "good", "lang": "", "lex": "Ilse Quill plays folk music.", "xml_id": "Id1"}],
                 "modifiedtripleset": [{"subject": "Ilse_Quill", "property": "genre", "object": "Folk_music"}],
                 "size": "1", "xml_id": "Id2"}}
        ]}
        """;

    public const string WebNlgXml = """
        <?xml version='1.0' encoding='UTF-8' standalone='yes'?>
        <benchmark>
          <entries>
            <entry category="Food" eid="Id2" size="1">
              <originaltripleset><otriple>not | used | here</otriple></originaltripleset>
              <modifiedtripleset><mtriple>Ember_Soup | mainIngredient | "Leeks | barley &amp; thyme"</mtriple></modifiedtripleset>
              <lex comment="good" lid="Id1">Ember soup is made of leeks, barley &amp; thyme.</lex>
            </entry>
            <entry category="Food" eid="Id3" size="2">
              <modifiedtripleset>
                <mtriple>Ember_Soup | region | Fenmoor</mtriple><mtriple>Fenmoor | leader | Ada_Østby</mtriple>
              </modifiedtripleset>
              <lex comment="toFix" lid="Id1">Ember soup of Fenmoor.</lex>
              <lex comment="good" lid="Id2">Ember soup comes from Fenmoor, whose leader is Ada Østby.</lex>
            </entry>
          </entries>
        </benchmark>
        """;

    public const string DartXml = """
        <?xml version="1.0" encoding="UTF-8"?>
        <benchmark>
          <entries>
            <entry category="MISC" eid="Id1" size="2">
              <modifiedtripleset>
                <mtriple>Ilse Quill | ALBUMS_RECORDED | 7</mtriple><mtriple>Ilse Quill | HOME_TOWN | Fenmoor</mtriple>
              </modifiedtripleset>
              <lex comment="WikiSQL_lily" lid="Id1">Ilse Quill of Fenmoor has recorded 7 albums.</lex>
              <lex comment="webnlg" lid="Id2">Ilse Quill, from Fenmoor, recorded seven albums.</lex>
            </entry>
          </entries>
        </benchmark>
        """;

    public const string LoraText = "name : The Punter | Type : pub||The Punter is a pub. \nname : Blue Spice || Blue Spice it is.\n";

    /// <summary>Every kind of row that is read as a prompt too, each as lines of objects.</summary>
    public static readonly string[] Rows = [Lines, AlpacaLines, ChatLines];

    /// <summary>One of each form that a file without an extension may be of.</summary>
    public static readonly string[] Forms = [Lines, DartJson, DartXml, E2E, LoraText];

    /// <summary>Lines of objects as one array.</summary>
    public static string Array(string lines) => "[" + string.Join(",\n", lines.Split('\n', StringSplitOptions.RemoveEmptyEntries)) + "]";
}
