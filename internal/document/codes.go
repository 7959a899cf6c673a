package document

// The stable codes of problems. [Codes] explains each.
const (
	Syntax         = "E001"
	Encoding       = "E002"
	TooLarge       = "E003"
	TooDeep        = "E004"
	NotOne         = "E005"
	Alias          = "E006"
	Tag            = "E007"
	DuplicateKey   = "E008"
	UnknownKey     = "E009"
	Missing        = "E010"
	WrongType      = "E011"
	BadValue       = "E012"
	WrongKind      = "E013"
	UnknownVerb    = "E014"
	NoVerb         = "E015"
	TwoVerbs       = "E016"
	BadID          = "E017"
	DuplicateID    = "E018"
	UnknownStep    = "E019"
	NoBytes        = "E020"
	Cycle          = "E021"
	UnknownTarget  = "E022"
	UnknownInput   = "E023"
	UnknownFact    = "E024"
	UnknownOutput  = "E025"
	BadExpression  = "E026"
	ExpressionType = "E027"
	NoExpression   = "E028"
	UnreadableFile = "E029"
	Conflict       = "E030"
	Evaluation     = "E031"
	TooMany        = "E032"
)

// Codes explains each code in one line.
var Codes = map[string]string{
	Syntax:         "The file is not YAML.",
	Encoding:       "The file is not UTF-8, or holds a control character.",
	TooLarge:       "The file is larger than 1 MiB, or has too many items.",
	TooDeep:        "Lists and maps are nested more than 64 levels deep.",
	NotOne:         "The file is empty, or holds more than one YAML document.",
	Alias:          "Anchors, aliases and merge keys are not possible; write the value where it is needed.",
	Tag:            "YAML tags are not possible; the field decides the type of its value.",
	DuplicateKey:   "The same key stands twice in a map.",
	UnknownKey:     "There is no such key at this place.",
	Missing:        "A key that must be there is missing.",
	WrongType:      "The value is of another type than the field.",
	BadValue:       "The value is of the right type, but not a possible one.",
	WrongKind:      "The file's apiVersion or kind is not the expected one.",
	UnknownVerb:    "A step names a verb that does not exist.",
	NoVerb:         "A step has no verb.",
	TwoVerbs:       "A step has more than one verb.",
	BadID:          "A step's id is not a lower-case letter followed by at most 39 lower-case letters, digits, '_' or '-'.",
	DuplicateID:    "Two steps have the same id.",
	UnknownStep:    "There is no step with this id.",
	NoBytes:        "A step's bytes are read, but its verb gives none.",
	Cycle:          "Steps need one another in a circle.",
	UnknownTarget:  "The device file has no such target, slot or role.",
	UnknownInput:   "The workflow declares no such input.",
	UnknownFact:    "The device file has no such fact.",
	UnknownOutput:  "The step's verb, the release or the run has no such value.",
	BadExpression:  "The text between ${{ and }} is not a possible expression.",
	ExpressionType: "An expression gives another type than the field takes.",
	NoExpression:   "An expression stands where the value must be known before the run.",
	UnreadableFile: "A file that the document names cannot be read.",
	Conflict:       "Keys that do not go together, or none of several of which one is needed.",
	Evaluation:     "An expression failed, or gave an impossible value, while the workflow ran.",
	TooMany:        "There are more problems than are listed.",
}
